"""Surface distances of two masks, by DeepMind's surface-distance: HD95 and the normalised surface Dice."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from nnunetv2_textguided.picai.extra import require

NSD_TOLERANCES_MM = (1.0, 2.0)


def surface_metrics(reference: np.ndarray, prediction: np.ndarray, spacing: Sequence[float]) -> dict[str, float]:
    """HD95 in mm and NSD at 1 and 2 mm.

    Args:
        reference: Boolean (z, y, x), not empty.
        prediction: Boolean (z, y, x), not empty, same shape.
        spacing: voxel spacing in mm (z, y, x).

    Raises:
        ValueError: a mask is empty. (surface-distance 0.1 would fail there with numpy 2: it uses np.Inf.)
    """
    if not reference.any() or not prediction.any():
        raise ValueError("surface metrics need two masks with voxels; EmptyMask decides about the others")
    library = require("surface_distance")
    with warnings.catch_warnings():
        # surface-distance 0.1 reaches scipy's filters through namespaces that scipy 2.0 will drop.
        warnings.simplefilter("ignore", DeprecationWarning)
        distances = library.compute_surface_distances(reference, prediction, list(spacing))
    values = {
        f"nsd_{tolerance:g}mm": float(library.compute_surface_dice_at_tolerance(distances, tolerance))
        for tolerance in NSD_TOLERANCES_MM
    }
    return {**values, "hd95": float(library.compute_robust_hausdorff(distances, 95.0))}
