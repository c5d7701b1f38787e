"""Two models' trainings, fold by fold: a metric's value in each training, and what each patient adds to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

Weighted: TypeAlias = Callable[[np.ndarray], np.ndarray]
"""A metric of one training on a fold under K weightings (K, C) of its cases; returns (K,)."""

Statistic: TypeAlias = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""A metric of one repeat, of the indices of a fold's cases (C,) and K weightings (K, C) of them; returns (K,)."""


@dataclass(frozen=True)
class Trainings:
    """A metric of the R trainings of one model on one fold.

    Attributes:
        values: (R,) the metric of each training.
        influence: (R, P) what each patient adds: the metric's empirical influence function, with mean 0 over patients,
            so that the variance of the metric over patients is its sum of squares by P (P - 1).
    """

    values: np.ndarray
    influence: np.ndarray

    @property
    def repeats(self) -> int:
        """R."""
        return int(self.values.size)

    @property
    def spread(self) -> float:
        """Variance of one training's value around the model's; NaN with a single training."""
        return float(self.values.var(ddof=1)) if self.repeats > 1 else math.nan

    @property
    def spread_of_patients(self) -> float:
        """The part of `spread` that chance in single patients explains: it is also in the variance over patients."""
        own = self.influence - self.influence.mean(axis=0)
        patients = own.shape[1]
        if self.repeats < 2 or patients < 2:
            return math.nan
        return float((own**2).sum() / ((self.repeats - 1) * patients * (patients - 1)))


@dataclass(frozen=True)
class Fold:
    """Two models on one fold.

    Attributes:
        number: of the fold.
        cases: on which it rests; its weight.
        model, baseline: trainings on the same patients, in the same order.
        same: whether both are of the same networks. `model` is then the difference within each network, and `baseline`
            is 0, so that what chance in a network's training gives to both is not counted, let alone twice.
    """

    number: int
    cases: int
    model: Trainings
    baseline: Trainings
    same: bool = False

    @property
    def difference(self) -> float:
        """Model minus baseline, each the mean of its repeats."""
        return float(self.model.values.mean() - self.baseline.values.mean())

    @property
    def patients(self) -> int:
        """P."""
        return int(self.model.influence.shape[1])

    @property
    def patient_variance(self) -> float:
        """Of the difference, over patients, with these trainings."""
        own = self.model.influence.mean(axis=0) - self.baseline.influence.mean(axis=0)
        return float((own**2).sum() / (self.patients * (self.patients - 1))) if self.patients > 1 else math.nan


def mean_trainings(values: np.ndarray, patients: np.ndarray) -> Trainings:
    """Trainings whose metric is the mean over cases.

    Args:
        values: (R, C) of each training and case, all finite.
        patients: (C,) index of each case's patient, 0..P-1.
    """
    mean = values.mean(axis=1)
    number = int(patients.max()) + 1
    owned = np.eye(number)[patients]
    influence = (values - mean[:, None]) @ owned * (number / values.shape[1])
    return Trainings(mean, influence)


def jackknife_trainings(statistics: Sequence[Weighted], patients: np.ndarray) -> Trainings:
    """Trainings whose metric is any statistic of weighted cases, with its influence by leaving out each patient.

    Args:
        statistics: for each training, the metric under K weightings (K, C) of its cases; returns (K,).
        patients: (C,) index of each case's patient, 0..P-1.

    Returns:
        NaN in the values of trainings in which the metric, or the metric without one of the patients, is undefined.
    """
    number = int(patients.max()) + 1
    weights = np.vstack([np.ones(patients.size), 1 - np.eye(number)[:, patients]])
    found = np.array([statistic(weights) for statistic in statistics], dtype=float)
    pseudo = (number - 1) * (found[:, :1] - found[:, 1:])
    defined = np.isfinite(found).all(axis=1)
    return Trainings(np.where(defined, found[:, 0], math.nan), pseudo - pseudo.mean(axis=1, keepdims=True))


def folds_of_means(
    model: np.ndarray, baseline: np.ndarray, folds: np.ndarray, patients: Sequence[str], same: bool = False
) -> list[Fold]:
    """The folds of two models whose metric is a mean over cases, on the cases that count in all of their trainings.

    Args:
        model, baseline: (R, C) of each repeat and case; NaN where a case does not count. A repeat without any value
            on a fold has no training there. The models may have different numbers of repeats, unless they are `same`.
        folds: (C,) the fold that validated each case.
        patients: (C,) the patient of each case.
        same: both are of the same networks, repeat for repeat: compared within each network.
    """
    made, owners = [], np.asarray(patients, dtype=str)
    for number in np.unique(folds):
        inside = folds == number
        cells = [values[:, inside] for values in (model, baseline)]
        trained = _trained([np.isfinite(values).any(axis=1) for values in cells], same)
        cells = [values[there] for values, there in zip(cells, trained, strict=True)]
        counts = np.isfinite(np.concatenate(cells)).all(axis=0)
        if not all(len(values) for values in cells) or not counts.any():
            continue
        owner = np.unique(owners[inside][counts], return_inverse=True)[1]
        both = [mean_trainings(values[:, counts], owner) for values in cells]
        made.append(_fold(int(number), int(counts.sum()), both, same))
    return made


def folds_of_statistics(
    model: Sequence[Statistic],
    baseline: Sequence[Statistic],
    folds: np.ndarray,
    patients: Sequence[str],
    same: bool = False,
) -> list[Fold]:
    """The folds of two models whose metric is no mean over cases, such as AUROC: taken within each training.

    Confidences of two trainings are not on one scale, so cases of different folds are not ranked together.

    Args:
        model, baseline: of each repeat; NaN where it has no training on these cases.
        folds, patients: (C,) of each case.
        same: as in `folds_of_means`.

    Returns:
        The folds in which the metric is defined for both models, whichever patient is left out.
    """
    made, owners = [], np.asarray(patients, dtype=str)
    for number in np.unique(folds):
        inside = np.flatnonzero(folds == number)
        owner = np.unique(owners[inside], return_inverse=True)[1]
        found = [jackknife_trainings([_chosen(statistic, inside) for statistic in statistics], owner)
                 for statistics in (model, baseline)]  # fmt: skip
        defined = _trained([np.isfinite(one.values) for one in found], same)
        both = [Trainings(one.values[there], one.influence[there]) for one, there in zip(found, defined, strict=True)]
        if all(cell.repeats for cell in both):
            made.append(_fold(int(number), int(inside.size), both, same))
    return made


def _trained(found: Sequence[np.ndarray], same: bool) -> Sequence[np.ndarray]:
    """The repeats (R,) of both models that count on a fold: of the same networks, those of both."""
    return [np.logical_and(*found)] * 2 if same else found


def _fold(number: int, cases: int, both: Sequence[Trainings], same: bool) -> Fold:
    ours, theirs = both
    if not same:
        return Fold(number, cases, ours, theirs)
    within = Trainings(ours.values - theirs.values, ours.influence - theirs.influence)
    nothing = Trainings(np.zeros_like(within.values), np.zeros_like(within.influence))
    return Fold(number, cases, within, nothing, same=True)


def _chosen(statistic: Statistic, cases: np.ndarray) -> Weighted:
    return lambda weights: statistic(cases, weights)
