"""Overlap of two masks of one case: Dice, precision, recall, and the surface metrics, with empty masks decided.

Library functions: plain arrays in, plain numbers out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nnunetv2_textguided.evaluation.conventions import EmptyMask, MissedDistance
from nnunetv2_textguided.evaluation.surface import surface_metrics


def overlap_metrics(
    reference: np.ndarray,
    prediction: np.ndarray,
    spacing: Sequence[float],
    *,
    empty: EmptyMask = EmptyMask.POSITIVES_ONLY,
    missed: MissedDistance = MissedDistance.EXCLUDE,
) -> dict[str, float]:
    """All overlap metrics of one case.

    Args:
        reference: Boolean (z, y, x).
        prediction: Boolean (z, y, x), same shape.
        spacing: voxel spacing in mm (z, y, x).
        empty: what an empty mask counts as.
        missed: HD95 where exactly one mask is empty.

    Returns:
        Keys OVERLAP_METRICS; NaN where the case does not count. `hd95` in mm.

    Raises:
        ValueError: the shapes differ, or the arrays are not Boolean.
    """
    if reference.shape != prediction.shape:
        raise ValueError(f"reference {reference.shape} and prediction {prediction.shape} differ in shape")
    if reference.dtype != bool or prediction.dtype != bool:
        raise ValueError("masks have to be Boolean")
    reference_empty, prediction_empty = not reference.any(), not prediction.any()
    if reference_empty or prediction_empty:
        values = empty.values(reference_empty=reference_empty, prediction_empty=prediction_empty)
        counts = not math.isnan(values["dice"])
        if counts and reference_empty != prediction_empty and missed is MissedDistance.DIAGONAL:
            values["hd95"] = diagonal(reference.shape, spacing)
        return values
    return {**voxel_metrics(reference, prediction), **surface_metrics(reference, prediction, spacing)}


def voxel_metrics(reference: np.ndarray, prediction: np.ndarray) -> dict[str, float]:
    """Dice, precision and recall of two Boolean arrays; NaN where a denominator is 0."""
    hit = int(np.count_nonzero(reference & prediction))
    actual, found = int(np.count_nonzero(reference)), int(np.count_nonzero(prediction))
    return {
        "dice": _ratio(2 * hit, actual + found),
        "precision": _ratio(hit, found),
        "recall": _ratio(hit, actual),
    }


def diagonal(shape: Sequence[int], spacing: Sequence[float]) -> float:
    """Length of a volume's diagonal in mm."""
    return float(np.linalg.norm(np.multiply(shape, spacing)))


def _ratio(numerator: int, denominator: int) -> float:
    return numerator / denominator if denominator else math.nan
