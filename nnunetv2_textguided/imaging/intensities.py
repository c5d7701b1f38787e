"""What the intensities of a normalised image are like: percentiles of each channel."""

from __future__ import annotations

import numpy as np

LEVELS = (1.0, 5.0, 25.0, 50.0, 75.0, 95.0, 99.0)
"""Levels of the percentiles."""
RANGE = (0.01, 0.99)
"""Quantiles over the training cases that count as the ends of a range: a single odd case does not widen it."""
FILE = "training_intensities.json"
"""File in a fold's folder that holds their ranges over the training cases."""
LOGGED = "text_guidance/training_intensities"
"""Key of the same content in the log that a checkpoint holds."""
_POINTS = 200_000


def percentiles(data: np.ndarray) -> np.ndarray:
    """Percentiles of each channel.

    Args:
        data: (C, *S) channels; large images are thinned out evenly.

    Returns:
        (C, len(LEVELS)).
    """
    flat = np.asarray(data, dtype=np.float32).reshape(len(data), -1)
    return np.percentile(flat[:, :: max(1, flat.shape[1] // _POINTS)], LEVELS, axis=1).T
