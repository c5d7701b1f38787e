"""Images of one examination: masks brought onto an image's grid, fields of view and slices compared."""

from __future__ import annotations

import itertools

import numpy as np
import SimpleITK as sitk

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.imaging.grids import compare_grids


def mask_onto(mask: sitk.Image, reference: sitk.Image) -> tuple[sitk.Image, str | None]:
    """Bring `mask` onto the grid of `reference`.

    Returns:
        The mask with exactly the reference's grid, and what was done: None where the grids are one grid within
        tolerance (voxels unchanged), else the reason for nearest-neighbour resampling.
    """
    difference = compare_grids(mask, reference)
    if difference.same_grid:
        mask = sitk.Image(mask)
        mask.CopyInformation(reference)
        return mask, None
    moved = sitk.Resample(mask, reference, sitk.Transform(), sitk.sitkNearestNeighbor, 0, mask.GetPixelID())
    size = "x".join(map(str, mask.GetSize()))
    detail = f"{size} instead of {'x'.join(map(str, reference.GetSize()))}" if not difference.same_size else difference
    return moved, f"resampled, on another grid ({detail})"


def check_axial(image: sitk.Image, where: object) -> None:
    """Raise DataError unless the slices of `image` are axial (their normal within 45 degrees of head-foot)."""
    angle = _angle(_normal(image), np.array((0.0, 0.0, 1.0)))
    if angle > 45:
        raise DataError(
            f"The slices are not axial: their normal is {angle:.0f} degrees from head-foot.",
            where=where,
            remedy="Check that the file is the axial series (not _sag or _cor) and that its header was not mixed up.",
        )


def check_same_anatomy(image: sitk.Image, reference: sitk.Image, where: object) -> None:
    """Raise DataError unless `image` can show the anatomy that `reference` is centred on.

    Two things betray a header of another series or study: slices that are tilted by more than 30 degrees against the
    reference's, and a field of view that leaves out more than a quarter of the reference's central half, where the
    prostate is.
    """
    angle = _angle(_normal(image), _normal(reference))
    covered = coverage(image, reference)
    if angle <= 30 and covered >= 0.75:
        return
    raise DataError(
        f"The geometry does not fit the T2W series: slices tilted by {angle:.0f} degrees, "
        f"{covered:.0%} of its central field of view covered.",
        where=where,
        remedy="The header is another series' or another patient's: check spacing, origin and direction, "
        "or download the file again.",
    )


def coverage(image: sitk.Image, reference: sitk.Image, fraction: float = 0.5, points: int = 7) -> float:
    """Share of the central `fraction` (per axis) of the reference's field of view that lies inside `image`.

    Estimated on a lattice of `points` per axis.
    """
    size = np.array(reference.GetSize())
    centre = (size - 1) / 2
    steps = np.linspace(-fraction / 2, fraction / 2, points)
    limit = np.array(image.GetSize()) - 0.5
    inside = 0
    for offset in itertools.product(steps, repeat=3):
        point = reference.TransformContinuousIndexToPhysicalPoint((centre + offset * size).tolist())
        index = np.array(image.TransformPhysicalPointToContinuousIndex(point))
        inside += bool(np.all(index >= -0.5) and np.all(index <= limit))
    return inside / points**3


def centred_on(image: sitk.Image, point: tuple[float, float, float]) -> sitk.Image:
    """Pad `image` with zeros on one side of each axis so that its centre lies within half a voxel of `point` (mm).

    A crop about the image's own centre is then a crop about the point, and loses nothing that the image had there.
    """
    size = np.array(image.GetSize())
    index = np.array(image.TransformPhysicalPointToContinuousIndex(point))
    # Padding p voxels before and q after moves the centre from (n - 1) / 2 to (n - 1 + p + q) / 2 in padded indices.
    shift = np.round(2 * index - (size - 1)).astype(int)
    if np.any(np.abs(shift) > size):
        raise ValueError("the point lies outside the image")
    return sitk.ConstantPad(image, np.maximum(-shift, 0).tolist(), np.maximum(shift, 0).tolist(), 0.0)


def _normal(image: sitk.Image) -> np.ndarray:
    return np.array(image.GetDirection()).reshape(3, 3)[:, 2]


def _angle(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip(abs(a @ b), 0, 1))))
