"""The difference of two models, with its uncertainty over patients and over trainings.

Both models are trained on the same folds, one or more times (repeats), and validated on the same patients. The
difference is the mean over folds, weighted by cases, of the fold's difference of the models' mean over repeats. It
varies for three reasons: other patients, other trainings (initialisation, sampling of patches), and folds on which the
methods truly differ by more than on others. Two estimates of its variance are at hand:

- *folds*: from the differences of the F folds; whatever the reason, it is in there. F - 1 degrees of freedom. With one
  repeat it is all there is: a single training does not say by how much another would differ.
- *parts*: the variance over patients, from patient-level differences within folds, plus that over trainings, from
  repeats within folds and models. Many more degrees of freedom (Satterthwaite, Biometrics Bulletin 1946), but blind to
  the third reason. Needs repeats of both models.

If both are at hand and the folds do not vary by more than the parts explain (F test at `POOLING_LEVEL`), they are
pooled; otherwise the folds alone count. Intervals and p values are Student's t. docs/benchmark_report.md shows by
simulation what this keeps and finds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.special import fdtrc, stdtr, stdtrit

from nnunetv2_textguided.evaluation.trainings import Fold, Trainings

POOLING_LEVEL = 0.2
"""Level of the F test above which variation between folds counts as no more than patients and trainings explain."""

LARGE = 1e6
"""Degrees of freedom of a variance that is known."""


class Ends(NamedTuple):
    """Of an interval; NaN where it is not known."""

    low: float
    high: float


@dataclass(frozen=True)
class Variance:
    """An estimate of a variance, and its degrees of freedom."""

    value: float
    freedom: float


@dataclass(frozen=True)
class Difference:
    """Model minus baseline.

    Attributes:
        folds: on which it rests, in order.
        level: nominal coverage of the interval.
    """

    folds: tuple[Fold, ...]
    level: float = 0.95

    @cached_property
    def weights(self) -> np.ndarray:
        """(F,) share of the cases."""
        cases = np.array([fold.cases for fold in self.folds], dtype=float)
        return cases / cases.sum()

    @cached_property
    def by_fold(self) -> np.ndarray:
        """(F,) the folds' differences."""
        return np.array([fold.difference for fold in self.folds])

    @cached_property
    def value(self) -> float:
        """The difference; NaN without a fold."""
        return float(self.weights @ self.by_fold) if self.folds else math.nan

    @cached_property
    def trainings(self) -> tuple[int, int]:
        """How many trainings of the model and of the baseline it rests on."""
        return sum(f.model.repeats for f in self.folds), sum(f.baseline.repeats for f in self.folds)

    @property
    def same(self) -> bool:
        """Whether both are of the same networks, and compared within each."""
        return any(fold.same for fold in self.folds)

    @property
    def trainings_text(self) -> str:
        """The numbers of trainings in words."""
        ours, theirs = self.trainings
        return f"{ours}, the same" if self.same else f"{ours} and {theirs}"

    @property
    def cases(self) -> int:
        """On which it rests."""
        return sum(fold.cases for fold in self.folds)

    @property
    def patients(self) -> int:
        """Whose cases these are."""
        return sum(fold.patients for fold in self.folds)

    @cached_property
    def over_patients(self) -> float:
        """Variance over patients alone, with these trainings as they are."""
        return float(sum(w**2 * f.patient_variance for w, f in zip(self.weights, self.folds, strict=True)))

    @cached_property
    def over_folds(self) -> Variance | None:
        """From the folds' differences; unbiased where a fold's variance goes with the inverse of its cases."""
        if len(self.folds) < 2:
            return None
        squares = self.weights**2 * (self.by_fold - self.value) ** 2
        return Variance(float((squares / (1 - self.weights)).sum()), float(1 / (self.weights**2).sum() - 1))

    @cached_property
    def of_parts(self) -> Variance | None:
        """Over patients plus over trainings; None where a model has no fold with repeats."""
        parts = [_training_parts([getattr(fold, of) for fold in self.folds], self.weights)
                 for of in ("model", "baseline")]  # fmt: skip
        if any(part is None for part in parts) or not math.isfinite(self.over_patients):
            return None
        trainings = max(0.0, sum(part[0] for part in parts if part))
        value = self.over_patients + trainings
        uncertainty = sum(part[1] for part in parts if part)
        for weight, fold in zip(self.weights, self.folds, strict=True):
            uncertainty += 2 * (weight**2 * fold.patient_variance) ** 2 / (fold.patients - 1)
        return Variance(value, min(LARGE, 2 * value**2 / uncertainty) if uncertainty > 0 else LARGE)

    @cached_property
    def folds_differ(self) -> bool:
        """Whether the folds vary by more than patients and trainings explain."""
        if self.over_folds is None or self.of_parts is None:
            return False
        if self.of_parts.value == 0:
            return self.over_folds.value > 0
        ratio = self.over_folds.value / self.of_parts.value
        return bool(fdtrc(self.over_folds.freedom, self.of_parts.freedom, ratio) < POOLING_LEVEL)

    @cached_property
    def variance(self) -> Variance | None:
        """The one that counts; None with a single training of each, which says nothing about another."""
        folds, parts = self.over_folds, self.of_parts
        if folds is None or parts is None:
            return folds or parts
        if self.folds_differ:
            return folds
        freedom = folds.freedom + parts.freedom
        return Variance((folds.freedom * folds.value + parts.freedom * parts.value) / freedom, freedom)

    @cached_property
    def ends(self) -> Ends:
        """The interval over patients and trainings."""
        return self._ends(self.variance)

    @cached_property
    def ends_over_patients(self) -> Ends:
        """What other patients would change, for these very trainings: not what another training would."""
        patients = sum(fold.patients - 1 for fold in self.folds)
        return self._ends(Variance(self.over_patients, patients) if patients else None)

    @cached_property
    def p(self) -> float:
        """Two-sided, of no difference; NaN where it is not known."""
        if self.variance is None:
            return math.nan
        if self.variance.value == 0:
            return 1.0 if self.value == 0 else 0.0
        return float(2 * stdtr(self.variance.freedom, -abs(self.value) / math.sqrt(self.variance.value)))

    def _ends(self, variance: Variance | None) -> Ends:
        if variance is None or not math.isfinite(variance.value):
            return Ends(math.nan, math.nan)
        half = float(stdtrit(variance.freedom, (1 + self.level) / 2)) * math.sqrt(variance.value)
        return Ends(self.value - half, self.value + half)


def _training_parts(cells: Sequence[Trainings], weights: np.ndarray) -> tuple[float, float] | None:
    """One model's part of the variance that trainings add to that of patients, and twice that estimate's own variance.

    Folds with a single training are given the mean spread of those with more.
    """
    repeated = [cell for cell in cells if cell.repeats > 1]
    if not repeated:
        return None
    spare = np.mean([cell.spread - cell.spread_of_patients for cell in repeated])
    value = uncertainty = 0.0
    shared = sum(w**2 / c.repeats for w, c in zip(weights, cells, strict=True) if c.repeats == 1) / len(repeated)
    for weight, cell in zip(weights, cells, strict=True):
        if cell.repeats == 1:
            value += weight**2 * float(spare)
            continue
        factor = weight**2 / cell.repeats
        value += factor * (cell.spread - cell.spread_of_patients)
        # The variance of a variance with n degrees of freedom is 2 s^4 / n, of which 2 s^4 / (n + 2) is unbiased.
        uncertainty += 2 * ((factor + shared) * cell.spread) ** 2 / (cell.repeats + 1)
    return value, uncertainty
