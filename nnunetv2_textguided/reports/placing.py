"""An outline for a reported lesion that is no candidate of the model: the most probable ball in the reported place.

A model of few outlines misses many lesions. Leaving their patients out keeps the negatives, which are certain, and
loses half of the lesions: the next model then learns to find nothing (docs/reports.md has the numbers).
"""

from __future__ import annotations

import numpy as np
from scipy.signal import fftconvolve

from nnunetv2_textguided.text.report_target import FILLED

DIAMETER_MM = 15.0
"""Of a lesion whose diameter is not reported."""
CORE, REACH = 0.4, 0.55
"""Radii, in diameters, of the ball that finds a lesion and of the one that holds its voxels."""


def most_probable(
    probability: np.ndarray, place: np.ndarray, diameter_mm: float | None, spacing: tuple[float, ...]
) -> np.ndarray:
    """(Z, Y, X) Boolean outline of one lesion; empty where the place is.

    Args:
        probability: (Z, Y, X) of a lesion.
        place: (Z, Y, X) where its centre lies.
        diameter_mm: largest diameter, mm; None: DIAMETER_MM.
        spacing: (z, y, x) of a voxel, mm.
    """
    if not place.any():
        return np.zeros(place.shape, dtype=bool)
    diameter = DIAMETER_MM if diameter_mm is None else diameter_mm
    mean = fftconvolve(probability, _ball(CORE * diameter, spacing), mode="same")
    centre = np.unravel_index(np.where(place, mean, -np.inf).argmax(), place.shape)
    squares = [((np.arange(n) - c) * mm) ** 2 for n, c, mm in zip(place.shape, centre, spacing, strict=True)]
    distance = (squares[0][:, None, None] + squares[1][:, None] + squares[2]) / (REACH * diameter) ** 2
    reach = distance <= 1
    wanted = FILLED * np.pi / 6 * diameter**3 / float(np.prod(spacing))
    number = int(np.clip(round(wanted), 1, np.count_nonzero(reach)))
    # Where a network says the same of many voxels, the inner ones come first.
    ranked = np.where(reach, probability - 1e-9 * distance, -1.0)
    outline = np.zeros(place.shape, dtype=bool)
    outline.flat[np.argsort(-ranked, axis=None, kind="stable")[:number]] = True
    return outline


def _ball(radius: float, spacing: tuple[float, ...]) -> np.ndarray:
    axes = [np.arange(-int(radius / mm), int(radius / mm) + 1) * mm for mm in spacing]
    inside = axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2 + axes[2] ** 2 <= radius**2
    return np.asarray(inside / inside.sum(), dtype=float)
