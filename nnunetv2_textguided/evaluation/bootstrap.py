"""Bootstrap intervals over patients: all cases of a drawn patient enter together.

Several studies of one patient are not independent, so patients are drawn with replacement, not cases. A replicate is a
row of case multiplicities, which turns the mean of any per-case number into one matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Interval:
    """A percentile interval.

    Attributes:
        low, high: its ends; NaN where no replicate was defined.
        level: its nominal coverage.
        valid: replicates in which the statistic was defined.
        replicates: replicates drawn.
    """

    low: float
    high: float
    level: float
    valid: int
    replicates: int


def draw(patients: Sequence[str], replicates: int, seed: int) -> np.ndarray:
    """Draw patients with replacement.

    Args:
        patients: the patient of each of C cases.
        replicates: number of replicates R.
        seed: for numpy's default generator.

    Returns:
        (R, C) how often each case counts in each replicate.
    """
    _, owner = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    number = int(owner.max()) + 1 if owner.size else 0
    generator = np.random.default_rng(seed)
    # How often each of n patients turns up in n draws with replacement is multinomial.
    counts = generator.multinomial(number, np.full(number, 1 / max(number, 1)), size=replicates)
    return counts[:, owner].astype(np.int32)


def interval(statistics: np.ndarray, level: float = 0.95) -> Interval:
    """The percentile interval of a statistic's R replicates; NaN replicates (undefined) are left out and counted."""
    defined = statistics[np.isfinite(statistics)]
    if defined.size == 0:
        return Interval(math.nan, math.nan, level, 0, int(statistics.size))
    tail = 50 * (1 - level)
    low, high = np.percentile(defined, (tail, 100 - tail))
    return Interval(float(low), float(high), level, int(defined.size), int(statistics.size))


def means(values: Sequence[float] | np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The mean of `values` (C,) in each replicate of `weights` (R, C); NaN values do not count. Returns (R,)."""
    array = np.asarray(values, dtype=float)
    counts = np.isfinite(array)
    total = weights @ counts.astype(float)
    summed = weights @ np.where(counts, array, 0.0)
    return np.divide(summed, total, out=np.full(total.shape, math.nan), where=total > 0)
