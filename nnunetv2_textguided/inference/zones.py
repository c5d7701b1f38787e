"""Zone masks that come with the cases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.imaging.images import check_mask_values, find_image, read_image

NAMES = {1: "PZ", 2: "TZ"}
"""Values of both zone sources of PI-CAI: peripheral and transition zone."""


def zone_file(folder: Path, case: str) -> Path:
    """The zone mask of a case.

    Raises:
        DataError: there is none.
    """
    found = find_image(folder, case)
    if found is None:
        raise DataError(
            f"Case {case} has no zone mask.",
            where=folder / f"{case}.nii.gz",
            remedy="Add it, or predict without --zones.",
        )
    return found


def read_zones(folder: Path, case: str, image: sitk.Image) -> np.ndarray:
    """The zone mask of a case, by nearest neighbour on the grid of `image`: (z, y, x) integers.

    Raises:
        DataError: there is none, it cannot be read, has another value than 0 or those of NAMES, or does not overlap
            the image at all.
    """
    path = zone_file(folder, case)
    stored = read_image(path)
    remedy = f"Zones are {', '.join(f'{value} {name}' for value, name in NAMES.items())}; the rest is 0."
    check_mask_values(sitk.GetArrayViewFromImage(stored), path, frozenset((0, *NAMES)), remedy)
    mask = sitk.Cast(stored, sitk.sitkInt32)
    zones: np.ndarray = sitk.GetArrayFromImage(sitk.Resample(mask, image, sitk.Transform(), sitk.sitkNearestNeighbor))
    if not zones.any() and sitk.GetArrayViewFromImage(mask).any():
        raise DataError(
            "The zone mask lies outside of the image.", where=path, remedy="Check its origin and direction."
        )
    return zones
