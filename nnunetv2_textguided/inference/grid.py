"""Back to the image's own grid: resampling, uncropping and axes as nnU-Net does it, and the header."""

from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK as sitk

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.nnunet.plans import ConfigurationManager, PlansManager

NO_EVIDENCE = 0.0
"""Outside of what the network saw. A heatmap is a probability, so this is "no evidence", which 0.5 would not be."""

_RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])


def to_cropped_grid(
    channels: np.ndarray, properties: dict[str, Any], plans: PlansManager, configuration: ConfigurationManager
) -> np.ndarray:
    """Resample (C, *network grid) channels to the cropped image's grid with the plans' own function for logits.

    Each channel is resampled on its own, so logits come out as they would without the others.
    """
    shape = properties["shape_after_cropping_and_before_resampling"]
    spacing = [properties["spacing"][axis] for axis in plans.transpose_forward]
    # As in nnU-Net: 2D plans have no spacing for the axis that they do not resample.
    current = (
        configuration.spacing if len(configuration.spacing) == len(shape) else [spacing[0], *configuration.spacing]
    )
    resampled = configuration.resampling_fn_probabilities(channels, shape, current, spacing)
    return np.asarray(resampled)


def to_image_grid(values: np.ndarray, properties: dict[str, Any], plans: PlansManager) -> np.ndarray:
    """Undo crop and axis order: (C, *cropped grid) to (C, z, y, x) float32; NO_EVIDENCE outside the crop."""
    whole = np.full((len(values), *properties["shape_before_cropping"]), NO_EVIDENCE, dtype=np.float32)
    box = tuple(slice(int(low), int(high)) for low, high in properties["bbox_used_for_cropping"])
    inside = (slice(None), *box)
    whole[inside] = values
    return whole.transpose([0] + [axis + 1 for axis in plans.transpose_backward])


def image_like(array: np.ndarray, properties: dict[str, Any]) -> sitk.Image:
    """(z, y, x) values as an image with the geometry of the case's first file.

    Args:
        array: on the grid of the case as nnU-Net's reader returned it.
        properties: what nnU-Net's reader said about the case (SimpleITK or NiBabel, with or without reorientation).

    Raises:
        DataError: the plans' reader keeps no geometry.
    """
    known = properties.get("sitk_stuff")
    if known is not None:
        spacing, origin, direction = known["spacing"], known["origin"], known["direction"]
        flat = len(spacing) == 2
        image = sitk.GetImageFromArray(np.ascontiguousarray(array[0] if flat else array))
        image.SetSpacing(spacing)
        image.SetOrigin(origin)
        image.SetDirection(direction)
        orientation = known.get("original_orientation")
        return image if orientation is None else sitk.DICOMOrient(image, orientation)
    nibabel = properties.get("nibabel_stuff")
    if nibabel is None:
        raise DataError(
            "The plans' image reader keeps no geometry, so float maps cannot be written.",
            where="plans: image_reader_writer",
            remedy="Plan the data set with SimpleITKIO or NibabelIO, or predict without --heatmaps and candidates.",
        )
    reoriented = nibabel.get("reoriented_affine")
    image = _image_with_affine(array, nibabel["original_affine"] if reoriented is None else reoriented)
    if reoriented is None:
        return image
    return sitk.DICOMOrient(image, _orientation(nibabel["original_affine"]))


def _image_with_affine(array: np.ndarray, affine: np.ndarray) -> sitk.Image:
    """NiBabel's affine speaks of RAS, ITK of LPS."""
    columns = affine[:3, :3] * _RAS_TO_LPS[:, None]
    spacing = np.linalg.norm(columns, axis=0)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    image.SetSpacing(spacing.tolist())
    image.SetDirection((columns / spacing).ravel().tolist())
    image.SetOrigin((affine[:3, 3] * _RAS_TO_LPS).tolist())
    return image


def _orientation(affine: np.ndarray) -> str:
    """ITK's name for the axes of an affine: where they point TO in patient space, as DICOMOrient takes it."""
    columns = affine[:3, :3] * _RAS_TO_LPS[:, None]
    direction = columns / np.linalg.norm(columns, axis=0)
    return str(sitk.DICOMOrientImageFilter_GetOrientationFromDirectionCosines(direction.ravel().tolist()))
