"""How cases are scored and numbers estimated: every choice that changes a number, in one place."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.evaluation.conventions import EmptyMask, MissedDistance

PRICE = 0.1
"""Utility lost where thresholds are fitted, in Dice, for each mL of false volume in the mean case without a lesion."""


@dataclass(frozen=True)
class Scoring:
    """What is done to each case.

    Attributes:
        extraction: lesion extraction: "dynamic" (PI-CAI's), "dynamic-fast", or a probability.
        mask_threshold: where a mask is made from a probability map alone.
        largest_only: keep the largest component of each mask only.
        min_voxels: remove components of a mask that have fewer voxels.
        empty: what an empty mask counts as.
        missed: HD95 where exactly one mask is empty.
    """

    extraction: str | float = "dynamic"
    mask_threshold: float = 0.5
    largest_only: bool = False
    min_voxels: int = 0
    empty: EmptyMask = EmptyMask.POSITIVES_ONLY
    missed: MissedDistance = MissedDistance.EXCLUDE

    @property
    def fingerprint(self) -> dict[str, object]:
        """The choices as JSON values: scores made under other ones are not reused."""
        return {**asdict(self), "empty": self.empty.value, "missed": self.missed.value}

    @property
    def postprocessing(self) -> str:
        """Post-processing in words."""
        steps = [f"components of fewer than {self.min_voxels} voxels removed"] if self.min_voxels else []
        steps += ["largest component only"] if self.largest_only else []
        return ", then ".join(steps) if steps else "none"


@dataclass(frozen=True)
class Resampling:
    """How intervals and tests are made.

    Attributes:
        resamples: bootstrap replicates.
        seed: of both.
        level: nominal coverage of intervals; 1 - level is the level of tests.
    """

    resamples: int = 2000
    seed: int = 0
    level: float = 0.95


def read_extraction(text: str) -> str | float:
    """The lesion extraction that `--extraction` names.

    Raises:
        DataError: there is no such extraction.
    """
    if text in ("dynamic", "dynamic-fast"):
        return text
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise DataError(f"{text!r} is no lesion extraction.", where="--extraction",
                        remedy="Use dynamic, dynamic-fast, or a probability between 0 and 1.")  # fmt: skip
    return value
