"""Images of a data set whatever their format: values and grid, read as nnU-Net reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from nnunetv2_textguided.imaging.grids import Grid
from nnunetv2_textguided.imaging.images import read_image
from nnunetv2_textguided.nnunet.readers import ITK_ENDINGS, read_with


@dataclass(frozen=True)
class Volume:
    """An image file.

    Attributes:
        values: (C, z, y, x), or (C, 1, y, x) of a 2D image; more than one channel only of a colour image.
        grid: where its voxels lie.
    """

    values: np.ndarray
    grid: Grid


def load_volume(path: Path, reader: type[Any]) -> Volume:
    """Read a 2D or 3D image or label map.

    Args:
        path: the file.
        reader: nnU-Net's reader of its data set, for the formats that are not medical ones.

    Raises:
        DataError: missing, truncated, or of a kind that nnU-Net cannot read.
    """
    if path.name.lower().endswith(ITK_ENDINGS):
        image = read_image(path, dimensions=(2, 3))
        values = sitk.GetArrayFromImage(image)
        return Volume(values[None] if values.ndim == 3 else values[None, None], Grid.of(image))
    values, spacing = read_with(reader, [path])
    return Volume(values, Grid.upright(values.shape[:0:-1], spacing[::-1]))
