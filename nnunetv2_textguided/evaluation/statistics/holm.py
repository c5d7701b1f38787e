"""Holm's correction for several tests at once: the chance of any false alarm among them stays below the level."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values, in the given order.

    With m tests the k-th smallest p value (k = 0, 1, ...) is multiplied by m - k; the results are made to rise and are
    at most 1 (Holm, Scand J Stat 1979). Undefined values (NaN) are no tests: they do not count in m and stay NaN.
    """
    values = np.asarray(p_values, dtype=float)
    adjusted = np.full(values.shape, np.nan)
    defined = np.flatnonzero(np.isfinite(values))
    order = defined[np.argsort(values[defined], kind="stable")]
    scaled = values[order] * (order.size - np.arange(order.size))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(scaled)) if order.size else scaled
    return adjusted.tolist()
