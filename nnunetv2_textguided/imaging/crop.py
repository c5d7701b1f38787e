"""The part of a slice that a picture shows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Box = tuple[float, float, float, float]
"""Top, left, height and width in voxels."""


def square_around(mask: np.ndarray, spacing: Sequence[float], field: float, margin: float = 1.3) -> Box:
    """A square in mm around what is marked in a slice, inside the slice as far as it can be.

    Args:
        mask: (y, x) bool; with nothing marked, the square is around all of it.
        spacing: pixel size (y, x) in mm.
        field: edge of the square in mm, more if what is marked needs it.
        margin: edge of the square over the extent of what is marked, at least.
    """
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if rows.size == 0:
        rows, columns = (np.array([0, n - 1]) for n in mask.shape)
    extent = max((rows[-1] - rows[0]) * spacing[0], (columns[-1] - columns[0]) * spacing[1])
    whole = min(n * s for n, s in zip(mask.shape, spacing, strict=True))
    edge = min(max(field, margin * extent), whole)
    box = []
    for found, size, step in ((rows, mask.shape[0], spacing[0]), (columns, mask.shape[1], spacing[1])):
        length = edge / step
        start = (found[0] + found[-1]) / 2 + 0.5 - length / 2
        box += [float(np.clip(start, 0, max(size - length, 0))), float(length)]
    return box[0], box[2], box[1], box[3]
