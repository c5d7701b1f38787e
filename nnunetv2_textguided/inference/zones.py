"""Zone masks that come with the cases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunetv2_textguided.errors import DataError

NAMES = {1: "PZ", 2: "TZ"}
"""Values of both zone sources of PI-CAI: peripheral and transition zone."""
_ENDINGS = (".nii.gz", ".nii", ".mha", ".nrrd")


def zone_file(folder: Path, case: str) -> Path:
    """The zone mask of a case.

    Raises:
        DataError: there is none.
    """
    for ending in _ENDINGS:
        if (folder / (case + ending)).is_file():
            return folder / (case + ending)
    raise DataError(
        f"Case {case} has no zone mask.", where=folder / f"{case}.nii.gz", remedy="Add it, or predict without --zones."
    )


def read_zones(folder: Path, case: str, image: sitk.Image) -> np.ndarray:
    """The zone mask of a case, by nearest neighbour on the grid of `image`: (z, y, x) integers.

    Raises:
        DataError: there is none, it cannot be read, or it does not overlap the image at all.
    """
    path = zone_file(folder, case)
    try:
        mask = sitk.ReadImage(str(path), sitk.sitkInt32)
    except RuntimeError as error:
        raise DataError("The zone mask cannot be read.", where=path, remedy="Copy the file again.") from error
    zones: np.ndarray = sitk.GetArrayFromImage(sitk.Resample(mask, image, sitk.Transform(), sitk.sitkNearestNeighbor))
    if not zones.any() and sitk.GetArrayViewFromImage(mask).any():
        raise DataError(
            "The zone mask lies outside of the image.", where=path, remedy="Check its origin and direction."
        )
    return zones
