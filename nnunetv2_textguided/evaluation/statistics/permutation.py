"""Paired permutation test: were the two models' results interchangeable within each patient?

Under the null hypothesis a patient's results could as well have come from the other model. So the labels "model" and
"baseline" are exchanged in randomly chosen patients (all cases of a patient together), and the observed difference is
compared with those of the exchanged data. No distribution is assumed, and any statistic can be tested. The exchanging
and counting is scipy's (`permutation_test` on one sample of signs); with few patients it is exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

# Statistic of signs (R, P): -1 where the patient's results are exchanged. Returns (R,).
Statistic = Callable[[np.ndarray], np.ndarray]
_BATCH = 256  # exchanges at once; bounds memory


def permutation_test(statistic: Statistic, patients: int, resamples: int, seed: int) -> float:
    """Two-sided p value.

    Args:
        statistic: the difference between the models, for R patterns of signs (R, P).
        patients: number of patients P.
        resamples: random patterns; all 2^P are used where they are not more than this.
        seed: for numpy's default generator.

    Returns:
        The p value, never 0: the observed pattern counts as one of the random ones. NaN without patients, or where the
        statistic is undefined.
    """
    if patients == 0 or not np.isfinite(statistic(np.ones((1, patients)))).all():
        return math.nan
    if patients == 1:
        return 1.0  # of two patterns, both are as extreme
    from scipy import stats

    def difference(signs: np.ndarray, axis: int = -1) -> np.ndarray:
        flat = np.moveaxis(np.asarray(signs), axis, -1)
        # Rounded, so that patterns with equal sums in another order count as ties.
        return np.round(statistic(flat.reshape(-1, patients)), 12).reshape(flat.shape[:-1])

    result = stats.permutation_test(
        (np.ones(patients),),
        difference,
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=_BATCH,
        random_state=np.random.default_rng(seed),
    )
    return float(result.pvalue)


def mean_difference(sums: np.ndarray, cases: int) -> Statistic:
    """The mean of a per-case difference as a statistic of signs, from each patient's sum (P,)."""
    return lambda signs: signs @ sums / cases
