"""How large a difference is beside its spread, and how often it goes which way."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

_TIE = 1e-9


@dataclass(frozen=True)
class Effect:
    """Effect sizes of paired differences.

    Attributes:
        standardised: Cohen's d_z, the mean difference in standard deviations of the differences.
        rank_biserial: matched-pairs rank-biserial correlation, -1..1: the share of rank sum in favour minus the share
            against; what Wilcoxon's test is a test of.
        higher, equal, lower: how many patients have a higher, equal or lower value than with the baseline.
    """

    standardised: float
    rank_biserial: float
    higher: int
    equal: int
    lower: int


def effect_size(differences: np.ndarray) -> Effect:
    """Effect sizes of one difference per patient (P,)."""
    higher, lower = differences > _TIE, differences < -_TIE
    spread = float(differences.std(ddof=1)) if differences.size > 1 else 0.0
    mean = float(differences.mean()) if differences.size else math.nan
    standardised = mean / spread if spread > _TIE else (0.0 if abs(mean) <= _TIE else math.nan)
    return Effect(
        standardised=standardised,
        rank_biserial=_rank_biserial(differences[higher | lower]),
        higher=int(higher.sum()),
        equal=int(differences.size - higher.sum() - lower.sum()),
        lower=int(lower.sum()),
    )


def _rank_biserial(differences: np.ndarray) -> float:
    if differences.size == 0:
        return 0.0
    from scipy import stats

    ranks = stats.rankdata(np.round(np.abs(differences), 12))
    return float(ranks @ np.sign(differences) / ranks.sum())
