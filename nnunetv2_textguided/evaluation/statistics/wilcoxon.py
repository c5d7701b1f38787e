"""Wilcoxon's signed-rank test, by scipy, on one difference per patient."""

from __future__ import annotations

import math

import numpy as np


def wilcoxon_test(differences: np.ndarray) -> float:
    """Two-sided p value of independent differences (P,); 1 where all are 0, NaN where there is none.

    Differences of 0 take part in the ranking (Pratt): many cases are equal where both models miss a lesion.
    """
    if differences.size == 0:
        return math.nan
    rounded = np.round(differences, 12)  # equal differences should be ties, not rounding noise
    if not rounded.any():
        return 1.0
    from scipy import stats

    return float(stats.wilcoxon(rounded, zero_method="pratt").pvalue)
