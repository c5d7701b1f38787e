"""Two models at 0.5, at thresholds fitted on the other folds, and by the average precision of voxels, which needs none.

The threshold of one and the same map can move Dice by more than models differ by, so a difference at 0.5 alone may be
one of thresholds. What fitted thresholds change of it has an interval of its own; the sentence follows from all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from nnunetv2_textguided.evaluation.conventions import EmptyMask
from nnunetv2_textguided.evaluation.difference import Difference
from nnunetv2_textguided.evaluation.metrics import METRICS
from nnunetv2_textguided.evaluation.options import PRICE
from nnunetv2_textguided.evaluation.statistics.holm import holm
from nnunetv2_textguided.evaluation.thresholds import HALF, THRESHOLDS, Curves, fit_across_folds
from nnunetv2_textguided.evaluation.trainings import folds_of_means, folds_of_statistics


@dataclass(frozen=True)
class ModelAtThresholds:
    """One model.

    Attributes:
        curves: of its repeats and cases.
        index: (K, C) of the fitted thresholds, by class and case.
        folds: (C,) of each case.
        dice, dice_fitted: (R, C) at 0.5 and at fitted thresholds; NaN where a case does not count or is not known.
        false_ml, false_ml_fitted: mean false volume of a case without lesion, mL.
    """

    curves: Curves
    index: np.ndarray
    folds: np.ndarray
    dice: np.ndarray
    dice_fitted: np.ndarray
    false_ml: float
    false_ml_fitted: float

    @property
    def known(self) -> bool:
        """Whether any training kept probabilities, and thresholds could be fitted."""
        return bool(np.isfinite(self.dice_fitted).any())

    @property
    def thresholds(self) -> Mapping[int, tuple[float, ...]]:
        """Fold -> its threshold for each class."""
        first = {int(fold): int(np.flatnonzero(self.folds == fold)[0]) for fold in np.unique(self.folds)}
        return {fold: tuple(float(THRESHOLDS[i]) for i in self.index[:, case] if i >= 0)
                for fold, case in first.items()}  # fmt: skip


def at_thresholds(
    curves: Curves, folds: np.ndarray, price: float = PRICE, empty: EmptyMask = EmptyMask.POSITIVES_ONLY
) -> ModelAtThresholds:
    """A model at 0.5 and at thresholds fitted across folds.

    Args:
        curves: of R repeats, K classes, C cases.
        folds: (C,) the fold that validated each case.
        price: of false volume, see `Curves.utility`.
        empty: what an empty mask counts as in Dice. Thresholds are always fitted to the Dice of cases with a lesion.
    """
    index = fit_across_folds(curves, folds, price)
    half = np.full_like(index, HALF)
    dice = curves.dice(empty)
    free = np.where((curves.reference == 0)[..., None], curves.false_ml(), np.nan)
    false = [curves.at(free, where) for where in (half, index)]
    means = (float(np.nanmean(one)) if np.isfinite(one).any() else float("nan") for one in false)
    return ModelAtThresholds(curves, index, folds, curves.at(dice, half), curves.at(dice, index), *means)


class Finding(Enum):
    """What becomes of a difference at fitted thresholds."""

    UNKNOWN = "not known"
    REMAINS = "remains at fitted thresholds"
    OF_THRESHOLDS = "a difference of thresholds"
    OPEN = "not settled"
    HIDDEN = "shown at fitted thresholds only"
    NEITHER = "not shown at either"


@dataclass(frozen=True)
class ThresholdComparison:
    """Model minus baseline.

    Attributes:
        model, baseline: what is compared.
        half, fitted: differences of Dice at 0.5 and at fitted thresholds.
        change: `fitted` minus `half`.
        precision: difference of the average precision of voxels.
        p_half, p_fitted: of the first two, after Holm's correction in the family of `correct`.
    """

    model: ModelAtThresholds
    baseline: ModelAtThresholds
    half: Difference
    fitted: Difference
    change: Difference
    precision: Difference
    p_half: float
    p_fitted: float

    @property
    def finding(self) -> Finding:
        """What becomes of the difference; "shown" is an interval that excludes 0, after Holm's correction, too."""
        alpha = 1 - self.half.level
        if not self.half.p >= 0 or not self.fitted.p >= 0:
            return Finding.UNKNOWN
        half, fitted = self.p_half < alpha, self.p_fitted < alpha
        if half and fitted and self.half.value * self.fitted.value > 0:
            return Finding.REMAINS
        if half:
            smaller = self.change.p < alpha and self.change.value * self.half.value < 0
            return Finding.OF_THRESHOLDS if smaller else Finding.OPEN
        return Finding.HIDDEN if fitted else Finding.NEITHER

    def sentence(self, model: str, baseline: str) -> str:
        """The finding with its numbers; empty where it is not known."""
        half, fitted, change, precision = (_text(d) for d in (self.half, self.fitted, self.change, self.precision))
        others = "thresholds fitted on the other folds"
        texts = {
            Finding.UNKNOWN: "",
            Finding.REMAINS: f"the difference of Dice at 0.5, {half}, remains at {others}, {fitted}",
            Finding.OF_THRESHOLDS: f"the difference of Dice at 0.5, {half}, vanishes at {others}, {fitted}, which "
            f"change it by {change}: it is a difference of thresholds",
            Finding.OPEN: f"the difference of Dice at 0.5, {half}, is not shown at {others}, {fitted}; that it is one "
            f"of thresholds is not shown either (they change it by {change})",
            Finding.HIDDEN: f"no difference of Dice is shown at 0.5, {half}, but one is at {others}, {fitted}",
            Finding.NEITHER: f"no difference of Dice is shown at 0.5, {half}, nor at {others}, {fitted}",
        }
        text = texts[self.finding]
        return f"{model} minus {baseline}: {text}; average precision of voxels {precision}." if text else ""


def compare_at_thresholds(
    model: ModelAtThresholds,
    baseline: ModelAtThresholds,
    patients: Sequence[str],
    level: float = 0.95,
    same: bool = False,
) -> ThresholdComparison:
    """Model minus baseline on the folds that both have.

    Args:
        model, baseline: on the same cases.
        patients: (C,) the patient of each case.
        level: nominal coverage of the intervals.
        same: both are of the same networks, see `trainings.folds_of_means`.
    """
    folds = model.folds

    def means(ours: np.ndarray, theirs: np.ndarray) -> Difference:
        return Difference(tuple(folds_of_means(ours, theirs, folds, patients, same)), level)

    half, fitted = means(model.dice, baseline.dice), means(model.dice_fitted, baseline.dice_fitted)
    change = means(model.dice_fitted - model.dice, baseline.dice_fitted - baseline.dice)
    ours, theirs = (one.curves.average_precision() for one in (model, baseline))
    precision = Difference(tuple(folds_of_statistics(ours, theirs, folds, patients, same)), level)
    return ThresholdComparison(model, baseline, half, fitted, change, precision, half.p, fitted.p)


def correct(comparisons: Sequence[ThresholdComparison]) -> list[ThresholdComparison]:
    """Correct the p values (Holm): the comparisons are one family at 0.5, and one at fitted thresholds."""
    half, fitted = (holm([getattr(c, name).p for c in comparisons]) for name in ("half", "fitted"))
    return [replace(c, p_half=a, p_fitted=b) for c, a, b in zip(comparisons, half, fitted, strict=True)]


def _text(difference: Difference) -> str:
    dice, ends = METRICS["dice"], difference.ends
    between = f" [{dice.text(ends.low, sign=True)}, {dice.text(ends.high, sign=True)}]" if ends.low == ends.low else ""
    return dice.text(difference.value, sign=True) + between
