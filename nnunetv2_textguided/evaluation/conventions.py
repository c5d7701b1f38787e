"""What an empty mask counts as: an explicit, printed choice, never an accident of a division by zero."""

from __future__ import annotations

import math
from enum import Enum

# The metrics of one case. `hd95` is a distance: smaller is better.
OVERLAP_METRICS = ("dice", "precision", "recall", "nsd_1mm", "nsd_2mm", "hd95")


class EmptyMask(Enum):
    """Value of the overlap metrics where the reference or the prediction of a case is empty; `--empty` names it."""

    POSITIVES_ONLY = "positives-only"
    PAPER = "paper"
    NNUNET = "nnunet"

    @property
    def description(self) -> str:
        """What the convention does, in words for the report."""
        return {
            "POSITIVES_ONLY": "cases without a reference lesion do not count; "
            "a missed lesion counts as 0 for Dice, precision, recall and NSD",
            "PAPER": "an empty prediction on a case without a reference lesion counts as 1 (HD95: 0 mm), "
            "a false alarm or a missed lesion as 0",
            "NNUNET": "as nnU-Net's summary.json: a case where both are empty does not count, otherwise plain formulas "
            "(a ratio with denominator 0 does not count)",
        }[self.name]

    def values(self, *, reference_empty: bool, prediction_empty: bool) -> dict[str, float]:
        """The metrics of a case with an empty reference, an empty prediction, or both.

        NaN means that the case does not count for this metric. `hd95` is NaN where one mask is empty: no distance is
        defined, and MissedDistance decides.
        """
        both = reference_empty and prediction_empty
        if both and self is EmptyMask.PAPER:
            return {**dict.fromkeys(OVERLAP_METRICS, 1.0), "hd95": 0.0}
        if both or (reference_empty and self is EmptyMask.POSITIVES_ONLY):
            return dict.fromkeys(OVERLAP_METRICS, math.nan)
        values = {**dict.fromkeys(OVERLAP_METRICS, 0.0), "hd95": math.nan}
        if self is EmptyMask.NNUNET:
            values["recall" if reference_empty else "precision"] = math.nan
        return values


class MissedDistance(Enum):
    """HD95 of a case in which exactly one of the masks is empty; `--missed-hd95` names it."""

    EXCLUDE = "exclude"
    DIAGONAL = "diagonal"

    @property
    def description(self) -> str:
        """What the choice does, in words for the report."""
        return {
            "EXCLUDE": "HD95 is averaged over the cases where both masks have voxels (the number is given)",
            "DIAGONAL": "HD95 of a case where one mask is empty is the diagonal of its volume",
        }[self.name]
