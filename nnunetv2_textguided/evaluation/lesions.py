"""Counting and measuring lesions in a binary mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from nnunetv2_textguided.extras import require


@dataclass(frozen=True)
class Lesions:
    """How many lesions a mask has (26-connected components, as in PI-CAI's evaluation) and their volume in mL."""

    count: int
    millilitres: float


def measure(mask: sitk.Image) -> Lesions:
    """Count and measure what is not 0 in `mask`."""
    values = sitk.GetArrayViewFromImage(mask) != 0
    return Lesions(count_components(values), volume_ml(mask))


def count_components(mask: np.ndarray) -> int:
    """Number of 26-connected components of a (z, y, x) Boolean mask."""
    if not mask.any():
        return 0
    _, count = require("cc3d").connected_components(np.ascontiguousarray(mask), connectivity=26, return_N=True)
    return int(count)


def volume_ml(mask: sitk.Image) -> float:
    """Volume in mL of what is not 0 in `mask`."""
    voxels = int(np.count_nonzero(sitk.GetArrayViewFromImage(mask)))
    return voxels * float(np.prod(mask.GetSpacing())) / 1000
