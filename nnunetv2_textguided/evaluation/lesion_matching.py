"""Which reference lesion was found, by which candidate: PI-CAI's matching, with the lesions' identities kept.

picai_eval matches candidates to lesions but reports neither which lesion was hit nor how large it is. This is the same
assignment (as many matches as possible with an IoU of at least 0.10, then the largest total overlap); tests compare
both on random maps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nnunetv2_textguided.evaluation.detection import bounding_box

MIN_IOU = 0.10  # picai_eval's min_overlap
_NEIGHBOURS = np.ones((3, 3, 3))


@dataclass(frozen=True)
class LesionScore:
    """One reference lesion and what was predicted of it.

    Attributes:
        volume_ml: its volume.
        found: whether a candidate was matched to it.
        confidence, iou: of that candidate; 0 where there is none.
        recall: share of its voxels inside the predicted mask.
        dice: Dice of the lesion with all components of the predicted mask that touch it.
    """

    volume_ml: float
    found: bool
    confidence: float
    iou: float
    recall: float
    dice: float


def match_lesions(
    reference: np.ndarray, detection: np.ndarray, mask: np.ndarray, voxel_ml: float
) -> tuple[LesionScore, ...]:
    """Score every lesion of one case.

    Args:
        reference: Boolean (z, y, x).
        detection: detection map (z, y, x): one confidence per candidate, 0 elsewhere.
        mask: Boolean (z, y, x): the predicted mask.
        voxel_ml: volume of a voxel in mL.
    """
    box = bounding_box(reference | (detection > 0) | mask)
    if box is None or not reference.any():
        return ()
    from scipy import ndimage, optimize

    lesions, number = ndimage.label(reference[box], structure=_NEIGHBOURS)
    candidates, confidences = _candidates(detection[box])
    overlap = _iou(lesions, number, candidates, len(confidences))
    overlap[overlap < MIN_IOU] = 0
    rows, columns = optimize.linear_sum_assignment(overlap + (overlap > 0), maximize=True)
    matched = {int(r): int(c) for r, c in zip(rows, columns, strict=True) if overlap[r, c] > 0}
    touching, _ = ndimage.label(mask[box], structure=_NEIGHBOURS)
    return tuple(
        _score(lesions == lesion + 1, touching, matched.get(lesion), confidences, overlap[lesion], voxel_ml)
        for lesion in range(number)
    )


def _candidates(detection: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """Candidates by number 1.. and their confidences: components of one and the same confidence."""
    from scipy import ndimage

    indexed = np.zeros(detection.shape, dtype=int)
    confidences: list[float] = []
    for confidence in np.unique(detection[detection > 0]):
        labelled, number = ndimage.label(detection == confidence, structure=_NEIGHBOURS)
        indexed[labelled > 0] = labelled[labelled > 0] + len(confidences)
        confidences += [float(confidence)] * number
    return indexed, confidences


def _iou(lesions: np.ndarray, n_lesions: int, candidates: np.ndarray, n_candidates: int) -> np.ndarray:
    """(lesions, candidates) intersection over union."""
    pairs = np.zeros((n_lesions + 1, n_candidates + 1))
    np.add.at(pairs, (lesions.ravel(), candidates.ravel()), 1)
    union = pairs.sum(axis=1, keepdims=True) + pairs.sum(axis=0, keepdims=True) - pairs
    return (pairs / np.maximum(union, 1))[1:, 1:]


def _score(
    lesion: np.ndarray,
    components: np.ndarray,
    candidate: int | None,
    confidences: list[float],
    overlap: np.ndarray,
    voxel_ml: float,
) -> LesionScore:
    size = int(lesion.sum())
    hit = np.unique(components[lesion])
    predicted = np.isin(components, hit[hit > 0])
    inside = int((lesion & predicted).sum())
    dice = 2 * inside / (size + int(predicted.sum()))
    if not math.isfinite(voxel_ml):
        raise ValueError("the voxel volume is not finite")
    return LesionScore(
        volume_ml=size * voxel_ml,
        found=candidate is not None,
        confidence=confidences[candidate] if candidate is not None else 0.0,
        iou=float(overlap[candidate]) if candidate is not None else 0.0,
        recall=inside / size,
        dice=dice,
    )
