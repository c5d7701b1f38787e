"""Which lesion mask a study gets: a human expert's wherever there is one, an AI's only on request."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from nnunetv2_textguided.errors import DataError

SUFFIX = ".nii.gz"
TEXT_ONLY, LEFT_OUT = "text only", "left out"
"""What cases.csv has in place of a source where a case has no outline, and where the data set does not have it."""
GLAND_FOLDER = Path("anatomical_delineations/whole_gland/AI/Bosma22b")
ZONE_FOLDER = Path("anatomical_delineations/zonal_pz_tz/AI")


class LesionSource(Enum):
    """A folder of csPCa masks in the picai_labels repository.

    `EXPERT` is the challenge's own delineation (1295 studies), taken from `resampled`, the version on the T2W grid, as
    the official baselines do: `original` holds the same delineations before resampling. `POOCH25` covers the 205 csPCa
    studies that the challenge published without a delineation (Pooch et al. 2025). `BOSMA22A` is an AI's.
    """

    EXPERT = "csPCa_lesion_delineations/human_expert/resampled"
    POOCH25 = "csPCa_lesion_delineations/human_expert/Pooch25"
    BOSMA22A = "csPCa_lesion_delineations/AI/Bosma22a"

    @property
    def human(self) -> bool:
        """Whether a person drew it."""
        return self is not LesionSource.BOSMA22A

    @property
    def label(self) -> str:
        """How cases.csv names it."""
        return {"EXPERT": "human_expert", "POOCH25": "Pooch25", "BOSMA22A": "Bosma22a (AI)"}[self.name]

    @property
    def values(self) -> frozenset[int]:
        """The values a mask may have: ISUP grades 2 to 5 where the experts recorded them, else 1."""
        return frozenset((0, 2, 3, 4, 5)) if self is LesionSource.EXPERT else frozenset((0, 1))


@dataclass(frozen=True)
class LabelFolder:
    """What a checkout of picai_labels holds: for each lesion source, its case identifiers."""

    root: Path
    lesions: dict[LesionSource, frozenset[str]]

    def lesion_file(self, case: str, source: LesionSource) -> Path:
        """Where the mask of `case` from `source` lies."""
        return self.root / source.value / f"{case}{SUFFIX}"

    def gland_file(self, case: str) -> Path:
        """Where the AI whole-gland mask of `case` lies."""
        return self.root / GLAND_FOLDER / f"{case}{SUFFIX}"

    def zone_file(self, case: str, source: str) -> Path:
        """Where the AI zone mask of `case` by `source` (HeviAI23 or Yuan23) lies."""
        return self.root / ZONE_FOLDER / source / f"{case}{SUFFIX}"


def scan_labels(folder: str | Path) -> LabelFolder:
    """List the lesion masks of a picai_labels checkout.

    Raises:
        DataError: the folder is not such a checkout.
    """
    root = Path(folder)
    lesions = {source: frozenset(_cases(root / source.value)) for source in LesionSource}
    if not any(lesions.values()):
        raise DataError(
            "The label folder holds no lesion mask.",
            where=root / LesionSource.EXPERT.value,
            remedy="--labels has to be a checkout of github.com/DIAGNijmegen/picai_labels.",
        )
    return LabelFolder(root, lesions)


def _cases(folder: Path) -> Iterable[str]:
    return (p.name[: -len(SUFFIX)] for p in folder.glob(f"*{SUFFIX}") if not p.name.startswith("."))


def source_label(source: LesionSource | None) -> str:
    """How cases.csv names a source, or that there is none."""
    return TEXT_ONLY if source is None else source.label


def choose_source(case: str, labels: LabelFolder, *, allow_ai: bool) -> LesionSource | None:
    """The best source that has a mask of `case`, in the order of LesionSource; None where there is none."""
    for source in LesionSource:
        if (source.human or allow_ai) and case in labels.lesions[source]:
            return source
    return None
