"""Decision thresholds: what a case's mask would be at each of them, and which one suits a model.

A case keeps how many voxels exceed each threshold, and how many of those are lesion. From these counts follow Dice and
false volume at every threshold, the average precision of voxels, which needs none, and the threshold that fits a set
of cases: the one with the highest utility, the mean Dice of cases with a lesion less `price` for each mL of false
volume in the mean case without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnunetv2_textguided.evaluation.conventions import EmptyMask
from nnunetv2_textguided.evaluation.options import PRICE
from nnunetv2_textguided.evaluation.trainings import Statistic

_TAILS = (1e-4, 3e-4, 1e-3, 2e-3, 3e-3, 5e-3, 1e-2, 1.5e-2)
THRESHOLDS = np.array(sorted({*_TAILS, *(round(k / 40, 3) for k in range(1, 40)), *(round(1 - t, 4) for t in _TAILS)}))
"""(T,) ascending. Close together where probabilities of trained networks are: near 0 and 1."""

HALF = int(np.flatnonzero(THRESHOLDS == 0.5)[0])
"""Index of 0.5, where nnU-Net cuts."""


@dataclass(frozen=True)
class Curve:
    """Counts of one class of one case.

    Attributes:
        voxels: of the volume, as far as they count.
        reference: of the reference.
        voxel_ml: volume of each, mL.
        predicted: (T,) whose probability exceeds each of THRESHOLDS.
        hits: (T,) those of them that belong to the reference.
    """

    voxels: int
    reference: int
    voxel_ml: float
    predicted: tuple[int, ...]
    hits: tuple[int, ...]

    def __post_init__(self) -> None:
        if not len(self.predicted) == len(self.hits) == len(THRESHOLDS):
            raise ValueError(f"a curve has {len(THRESHOLDS)} thresholds")

    def as_text(self) -> str:
        """One line of text; `curve_of_text` reads it."""
        counts = "/".join(" ".join(map(str, values)) for values in (self.predicted, self.hits))
        return f"{self.voxels}/{self.reference}/{self.voxel_ml!r}/{counts}"


def curve_of(probability: np.ndarray, reference: np.ndarray, voxel_ml: float) -> Curve:
    """The counts of one case.

    Args:
        probability: (N,) or (z, y, x) of the class, in [0, 1].
        reference: Boolean, of the same shape.
        voxel_ml: volume of a voxel, mL.
    """
    above = probability > THRESHOLDS[0]
    exceeded = np.searchsorted(THRESHOLDS, probability[above], side="left")  # by how many it is exceeded strictly
    size = len(THRESHOLDS) + 1

    def counts(chosen: np.ndarray) -> tuple[int, ...]:
        return tuple(np.bincount(chosen, minlength=size)[::-1].cumsum()[::-1][1:].tolist())

    return Curve(probability.size, int(np.count_nonzero(reference)), voxel_ml, counts(exceeded),
                 counts(exceeded[reference[above]]))  # fmt: skip


def curve_of_text(text: str) -> Curve:
    """The reverse of `Curve.as_text`.

    Raises:
        ValueError: it is no curve, or one of other thresholds.
    """
    voxels, reference, voxel_ml, predicted, hits = text.split("/")
    counts = (tuple(map(int, values.split())) for values in (predicted, hits))
    return Curve(int(voxels), int(reference), float(voxel_ml), *counts)


def curves_as_text(curves: Sequence[Curve | None]) -> str:
    """Of the classes of one case; empty where one is not known."""
    return ";".join(curve.as_text() for curve in curves if curve) if all(curves) else ""


@dataclass(frozen=True)
class Curves:
    """Counts of many predictions as arrays; NaN where no probabilities were kept.

    Attributes:
        voxels, reference, voxel_ml: (R, K, C) of each repeat, class and case.
        predicted, hits: (R, K, C, T).
    """

    voxels: np.ndarray
    reference: np.ndarray
    voxel_ml: np.ndarray
    predicted: np.ndarray
    hits: np.ndarray

    @property
    def known(self) -> np.ndarray:
        """(R, C) where probabilities were kept."""
        return np.asarray(np.isfinite(self.voxels).all(axis=1))

    def dice(self, empty: EmptyMask = EmptyMask.POSITIVES_ONLY) -> np.ndarray:
        """(R, K, C, T); NaN where a case does not count or is not known."""
        total = self.reference[..., None] + self.predicted
        dice = np.divide(2 * self.hits, total, out=np.full(total.shape, np.nan), where=total > 0)
        reference_empty, prediction_empty = self.reference[..., None] == 0, self.predicted == 0
        for one in (False, True):
            for other in (False, True):
                if one or other:
                    value = empty.values(reference_empty=one, prediction_empty=other)["dice"]
                    dice[(reference_empty == one) & (prediction_empty == other) & np.isfinite(total)] = value
        return dice

    def false_ml(self) -> np.ndarray:
        """(R, K, C, T) volume outside of the reference, mL."""
        return np.asarray((self.predicted - self.hits) * self.voxel_ml[..., None])

    def utility(self, cases: np.ndarray, price: float = PRICE) -> np.ndarray:
        """(K, T) of the chosen cases (C,), all repeats together; NaN without a case that has a lesion."""
        chosen = Curves(*(values[:, :, cases] for values in vars(self).values()))
        free = (chosen.reference == 0)[..., None]
        return _mean(chosen.dice()) - price * np.nan_to_num(_mean(np.where(free, chosen.false_ml(), np.nan)))

    def fitted(self, cases: np.ndarray, price: float = PRICE) -> np.ndarray:
        """(K,) indices of the best thresholds for the chosen cases (C,); -1 where none can be fitted.

        Of equally good ones that which is nearest to 0.5.
        """
        utility = self.utility(cases, price)
        distance = np.abs(THRESHOLDS - 0.5)
        best = [np.flatnonzero(np.isclose(one, np.nanmax(one), rtol=0, atol=1e-12)) if np.isfinite(one).all() else None
                for one in utility]  # fmt: skip
        return np.array([-1 if ties is None else ties[np.argmin(distance[ties])] for ties in best])

    def at(self, values: np.ndarray, index: np.ndarray) -> np.ndarray:
        """(R, C) values (R, K, C, T) at a threshold for each class and case (K, C); the mean of classes that count."""
        taken = np.take_along_axis(values, np.maximum(index, 0)[None, :, :, None], axis=-1)[..., 0]
        return mean_of_finite(np.where(index[None] < 0, np.nan, taken), axis=1)

    def average_precision(self) -> list[Statistic]:
        """Of the voxels of all chosen cases together, the mean over classes; a statistic for each repeat.

        NaN where a case is not known. Between two thresholds precision counts as the mean of both.
        """
        return [self._average_precision(repeat) for repeat in range(len(self.voxels))]

    def _average_precision(self, repeat: int) -> Statistic:
        def statistic(cases: np.ndarray, weights: np.ndarray) -> np.ndarray:
            every, ones = (np.concatenate([whole[repeat][:, cases, None], part[repeat][:, cases]], axis=-1)
                           for whole, part in ((self.voxels, self.predicted), (self.reference, self.hits)))  # fmt: skip
            by_class = [_average_precision(weights @ n, weights @ h) for n, h in zip(every, ones, strict=True)]
            return np.asarray(np.mean(by_class, axis=0))

        return statistic


def _average_precision(predicted: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """(W,) from counts (W, T + 1) at rising thresholds, the lowest of which every voxel exceeds."""
    predicted, hits = predicted[:, ::-1], hits[:, ::-1]
    precision = np.divide(hits, predicted, out=np.full(hits.shape, np.nan), where=predicted > 0)
    before = np.concatenate([precision[:, :1], precision[:, :-1]], axis=1)
    between = (precision + np.where(np.isfinite(before), before, precision)) / 2
    gained = np.diff(hits, axis=1, prepend=0)
    total = hits[:, -1]
    area = (gained * np.where(gained > 0, between, 0)).sum(axis=1)
    return np.divide(area, total, out=np.full(total.shape, np.nan), where=total > 0)


def stack(curves: Sequence[Sequence[Sequence[Curve | None]]]) -> Curves:
    """Curves of repeats, classes and cases (R, K, C) as arrays."""

    def array(field: str, missing: Any) -> np.ndarray:
        return np.array([[[missing if c is None else getattr(c, field) for c in cases] for cases in classes]
                         for classes in curves], dtype=float)  # fmt: skip

    none = [np.nan] * len(THRESHOLDS)
    return Curves(*(array(field, np.nan) for field in ("voxels", "reference", "voxel_ml")),
                  *(array(field, none) for field in ("predicted", "hits")))  # fmt: skip


def fit_across_folds(curves: Curves, folds: np.ndarray, price: float = PRICE) -> np.ndarray:
    """(K, C) indices of thresholds for each class and case, fitted on the cases of the other folds; -1: there are none.

    Args:
        curves: of a model.
        folds: (C,) the fold that validated each case.
        price: of false volume, see `Curves.utility`.
    """
    index = np.full((curves.voxels.shape[1], len(folds)), -1)
    for fold in np.unique(folds):
        others = folds != fold
        if others.any():
            index[:, ~others] = curves.fitted(others, price)[:, None]
    return index


def _mean(values: np.ndarray) -> np.ndarray:
    """(K, T) the mean of what is finite in (R, K, C, T)."""
    return mean_of_finite(np.moveaxis(values, 1, 0).reshape(values.shape[1], -1, values.shape[-1]), axis=1)


def mean_of_finite(values: np.ndarray, axis: int) -> np.ndarray:
    """The mean along an axis of what is not NaN; NaN where nothing is."""
    counts = np.isfinite(values)
    number = counts.sum(axis=axis)
    total = np.where(counts, values, 0).sum(axis=axis)
    return np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)
