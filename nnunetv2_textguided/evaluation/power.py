"""How surely a difference is found, and how many trainings that takes."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import chdtri, fdtri, ndtr, stdtrit

from nnunetv2_textguided.evaluation.difference import POOLING_LEVEL, Difference

ENOUGH = 0.8
"""Power at which a study counts as large enough."""

MOST_REPEATS = 20
"""More trainings per fold and model than this are not suggested."""

_GRID = 400


def power(effect: float, variance: float, folds: int, freedom: float | None, level: float = 0.95) -> float:
    """The chance that an interval excludes 0 on the side of a true effect (evaluation/difference.py).

    Args:
        effect: the true difference.
        variance: of its estimate.
        folds: F.
        freedom: of the variance over patients and trainings; None with one repeat, where the folds alone count.
        level: nominal coverage of the interval.
    """
    if variance <= 0:
        return float(effect != 0)
    if folds < 2:
        return float(_exceeds(abs(effect), variance, variance, freedom, level)) if freedom else 0.0
    # The folds' own estimate of the variance, in equally likely steps.
    shares = (np.arange(_GRID) + 0.5) / _GRID
    found = variance * chdtri(folds - 1, shares) / (folds - 1)
    alone = _exceeds(abs(effect), variance, found, folds - 1, level)
    if freedom is None:
        return float(np.mean(alone))
    together = (found * (folds - 1) + variance * freedom) / (folds - 1 + freedom)
    pooled = _exceeds(abs(effect), variance, together, folds - 1 + freedom, level)
    differ = found / variance > fdtri(folds - 1, freedom, 1 - POOLING_LEVEL)
    return float(np.where(differ, alone, pooled).mean())


def _exceeds(effect: float, variance: float, found: np.ndarray | float, freedom: float, level: float) -> np.ndarray:
    """The chance that effect and error exceed the half width of the interval from this estimate of the variance."""
    half = stdtrit(freedom, (1 + level) / 2) * np.sqrt(found)
    return np.asarray(ndtr((effect - half) / math.sqrt(variance)))


def repeats_needed(difference: Difference, effect: float) -> int | None:
    """Trainings per fold and model with which a true effect would be found with a power of ENOUGH.

    From the variances that the study itself shows. None: more than MOST_REPEATS, or no number: what patients (and folds
    on which the methods truly differ) leave unknown is left whatever the trainings, and takes more patients.
    """
    if difference.variance is None:
        return None
    fixed, once = _parts(difference)
    folds, patients = len(difference.folds), sum(fold.patients - 1 for fold in difference.folds)
    for repeats in range(1, MOST_REPEATS + 1):
        freedom = None if repeats == 1 or difference.folds_differ else 2 * folds * (repeats - 1) + patients
        if power(effect, fixed + once / repeats, folds, freedom, difference.level) >= ENOUGH:
            return repeats
    return None


def _parts(difference: Difference) -> tuple[float, float]:
    """The variance that more trainings do not reduce, and what one training per fold and model adds to it."""
    total = difference.variance.value if difference.variance else math.nan
    if difference.of_parts is None:
        # One repeat: what is more than chance in patients is taken for chance in training.
        return min(total, difference.over_patients), max(0.0, total - difference.over_patients)
    once = now = 0.0
    for weight, fold in zip(difference.weights, difference.folds, strict=True):
        for cell in (fold.model, fold.baseline):
            if cell.repeats > 1:
                once += weight**2 * cell.spread
                now += weight**2 * cell.spread / cell.repeats
    return max(0.0, total - now), once
