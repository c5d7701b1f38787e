"""What `picai prepare` can be asked for: one frozen, validated model, stored in the data set that it made."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt, model_validator

from nnunetv2_textguided.nnunet.labels import IGNORE
from nnunetv2_textguided.picai.contradictions import Rule

# Channel name that makes nnU-Net use this normalisation: any name it does not know means z-score per image.
ADC_CHANNEL = {"global": "CT", "zscore": "ADC"}
# The values that both zone sources of picai_labels use, too.
ZONES = {"peripheral zone": 1, "transition zone": 2}
LESION = {"background": 0, "csPCa": 1}
CLASSES: dict[str, dict[str, int]] = {
    "lesion": LESION,
    "zones": {"background": 0, **ZONES, "csPCa": 3},
    "anatomy": LESION,
}
Triple = tuple[PositiveFloat, PositiveFloat, PositiveFloat]
Size = tuple[PositiveInt, PositiveInt, PositiveInt]


class PrepareOptions(BaseModel):
    """Everything that changes what is written for a case. All triples are (z, y, x)."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    folds: Literal["1500", "1295"] = "1500"
    """Which official five folds: all 1500 studies, or the 1295 that the challenge itself delineated."""
    classes: Literal["lesion", "zones", "anatomy"] = "lesion"
    """`lesion`: csPCa alone. `zones`: peripheral zone, transition zone and csPCa on top of them. `anatomy`: csPCa
    alone, and the zones in label maps of their own, which are no classes."""
    zone_source: Literal["HeviAI23", "Yuan23", "auto"] = "HeviAI23"
    """Which AI zone masks; `auto` takes per case the one that agrees better with the whole-gland mask."""
    ai_labels: bool = False
    """Use Bosma22a's AI lesion masks where there is no human one."""
    contradictions: Rule = Rule.EXCLUDE
    """What happens to a study whose marksheet and mask contradict each other."""
    adc: Literal["global", "zscore"] = "global"
    """ADC normalisation: over the whole data set (channel named "CT", as in the official baseline), or per image."""
    spacing: Triple | None = None
    """Target voxel spacing in mm; None keeps the T2W series' own."""
    matrix_size: Size | None = None
    """Crop or zero-pad to this many voxels; None keeps the T2W series' own."""
    crop_centre: Literal["image", "gland"] = "image"
    """What the crop is centred on: the image, or the AI whole-gland mask's bounding box."""

    masks: tuple[str, ...] | None = None
    """The cases that keep their outlines; None: all that have one."""
    text_cases: bool = False
    """Whether cases without an outline are written too, their label maps all ignored; else they are left out."""

    @model_validator(mode="after")
    def _consistent(self) -> PrepareOptions:
        if self.crop_centre == "gland" and self.matrix_size is None:
            raise ValueError("crop_centre 'gland' needs a matrix_size to crop to")
        return self

    @property
    def channel_names(self) -> dict[str, str]:
        """nnU-Net's channel_names."""
        return {"0": "T2W", "1": ADC_CHANNEL[self.adc], "2": "HBV"}

    @property
    def labels(self) -> dict[str, int]:
        """nnU-Net's labels; with text-only cases its ignore label, the highest as nnU-Net asks."""
        classes = CLASSES[self.classes]
        return {**classes, **({IGNORE: len(classes)} if self.text_cases else {})}

    @property
    def anatomy(self) -> dict[str, int]:
        """Name -> value of what the label maps in anatomyTr hold; empty where there are none."""
        return dict(ZONES) if self.classes == "anatomy" else {}

    @property
    def needs_zones(self) -> bool:
        """Whether a case cannot be prepared without a zone mask."""
        return self.classes != "lesion"

    @property
    def stored(self) -> dict[str, Any]:
        """As JSON values; what only some data sets have is not in the others, so that older ones stay up to date."""
        absent = {"masks"} if self.masks is None else set()
        return self.model_dump(mode="json", exclude=absent | (set() if self.text_cases else {"text_cases"}))

    @property
    def fingerprint(self) -> str:
        """A short hash over everything that changes the written voxels of a case."""
        return hashlib.sha256(json.dumps(self.stored, sort_keys=True).encode()).hexdigest()[:16]


# The geometry of the two official baselines (github.com/DIAGNijmegen/picai_baseline).
GEOMETRY: dict[str, dict[str, tuple[float, ...] | None]] = {
    "nnunet-baseline": {"spacing": None, "matrix_size": None},
    "unet-baseline": {"spacing": (3.0, 0.5, 0.5), "matrix_size": (20, 256, 256)},
}
