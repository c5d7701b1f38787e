"""What a worker is told about one case, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnunetv2_textguided.anatomy.labels import RAW_FOLDER
from nnunetv2_textguided.picai.label_sources import LesionSource
from nnunetv2_textguided.picai.options import PrepareOptions


@dataclass(frozen=True)
class CaseJob:
    """What a worker needs to prepare one case; picklable.

    Attributes:
        case: `<patient>_<study>`.
        images: T2W, ADC and HBV files.
        lesion: the lesion mask and its source; None: the case is text-only, and its label map all ignored.
        gland: the AI whole-gland mask, where there is one.
        zones: zone source -> file, in order of preference; empty unless zones are asked for.
        cspca, isup: the marksheet's verdict.
        options: what to write.
        dataset: the data set's folder.
    """

    case: str
    images: tuple[Path, ...]
    lesion: Path | None
    source: LesionSource | None
    gland: Path | None
    zones: dict[str, Path]
    cspca: bool
    isup: int | None
    options: PrepareOptions
    dataset: Path

    @property
    def inputs(self) -> tuple[Path, ...]:
        """Every file that is read."""
        return (*self.images, *filter(None, (self.lesion, self.gland)), *self.zones.values())

    @property
    def outputs(self) -> tuple[Path, ...]:
        """Every file that is written: one per channel, the label, then the anatomy where it is asked for."""
        channels = (self.dataset / "imagesTr" / f"{self.case}_{i:04d}.nii.gz" for i in range(len(self.images)))
        label = self.dataset / "labelsTr" / f"{self.case}.nii.gz"
        return (*channels, label, *((self.anatomy_file,) if self.options.anatomy else ()))

    @property
    def anatomy_file(self) -> Path:
        """Where the zones lie if they are no classes, whether or not these options ask for it."""
        return self.dataset / RAW_FOLDER / f"{self.case}.nii.gz"


@dataclass(frozen=True)
class CaseResult:
    """What came of a case: `skipped` is the reason where a rule left it out, else None.

    `facts` go into cases.csv; `remarks` are what a person should know about the case.
    """

    case: str
    skipped: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    seconds: float = 0.0
