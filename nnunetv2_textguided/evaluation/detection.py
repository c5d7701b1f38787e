"""Lesion candidates as PI-CAI makes them: detection maps, extracted by report_guided_annotation."""

from __future__ import annotations

import numpy as np

from nnunetv2_textguided.evaluation.crowded import extract_crowded, is_crowded
from nnunetv2_textguided.evaluation.lesions import count_components
from nnunetv2_textguided.extras import require

# `dynamic` extraction stops when what is left is below 0.01 and cuts lesions at a fraction 1 / 2.5 of their maximum
# (defaults of report_guided_annotation), so no voxel below this is ever part of a candidate.
_NEVER_A_CANDIDATE = 0.01 / 2.5


def extract_candidates(probability: np.ndarray, threshold: str | float = "dynamic") -> np.ndarray:
    """Lesion candidates of a csPCa probability map (z, y, x) as a detection map of the same shape.

    The map holds, in each candidate, its confidence, and 0 elsewhere. `threshold="dynamic"` is the challenge's choice.
    The search runs on the bounding box of what can become a candidate: the same result, sooner.
    """
    detection = np.zeros(probability.shape, dtype=np.float32)
    lowest = _NEVER_A_CANDIDATE if isinstance(threshold, str) else float(threshold)
    box = bounding_box(probability >= lowest)
    if box is None:
        return detection
    inside = probability[box].astype(np.float32)
    if threshold == "dynamic" and is_crowded(inside):
        detection[box] = extract_crowded(inside)
    else:
        extract = require("report_guided_annotation").extract_lesion_candidates
        detection[box] = extract(inside, threshold=threshold)[0]
    return detection


def bounding_box(mask: np.ndarray) -> tuple[slice, ...] | None:
    """The smallest box that holds all of a Boolean array; None where it is empty."""
    box = []
    for axis in range(mask.ndim):
        along = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        if along.size == 0:
            return None
        box.append(slice(int(along[0]), int(along[-1]) + 1))
    return tuple(box)


def is_detection_map(values: np.ndarray) -> bool:
    """Whether a map (z, y, x) is a detection map, and not a probability map: picai_eval's own criterion.

    A detection map has one value per connected component, so no more values than components.
    """
    box = bounding_box(values > 0)
    if box is None:
        return True
    inside = values[box]
    return int(np.unique(inside[inside > 0]).size) <= count_components(inside > 0)
