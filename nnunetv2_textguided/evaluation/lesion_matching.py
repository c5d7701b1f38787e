"""Which reference lesion was found, by which candidate: PI-CAI's matching, with the lesions' identities kept.

The rule is picai_eval's: as many matches as possible with an IoU of at least 0.10, then the largest total overlap. Its
own `evaluate_case` reports neither which lesion was hit nor how large it is; tests compare all that it does report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnunetv2_textguided.evaluation.detection import bounding_box

MIN_IOU = 0.10  # picai_eval's min_overlap
_EPSILON = 1e-8  # of picai_eval's calculate_iou
_NEIGHBOURS = np.ones((3, 3, 3))

# Is it a lesion, the confidence, the IoU; a missed lesion has confidence 0, a false alarm IoU 0.
LesionResult = tuple[int, float, float]


def results_as_text(results: Sequence[LesionResult]) -> str:
    """For a table of cases, without the IoU: "1:0.83 0:0.4 1:0" is a lesion found, a false alarm, and a lesion missed.

    "-" where there is none of them: an empty cell of a table says that nothing is known.
    """
    return " ".join(f"{lesion}:{confidence:.5g}" for lesion, confidence, _ in results) or "-"


def results_of_text(text: str) -> tuple[LesionResult, ...]:
    """Of `results_as_text`; IoUs are 0.

    Raises:
        ValueError: it is no such text.
    """
    parts = (part.split(":") for part in text.split() if text != "-")
    return tuple((int(lesion), float(confidence), 0.0) for lesion, confidence in parts)


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
) -> tuple[tuple[LesionResult, ...], tuple[LesionScore, ...]]:
    """Match the candidates of one case to its lesions.

    Args:
        reference: Boolean (z, y, x).
        detection: detection map (z, y, x): in each candidate its confidence, 0 elsewhere.
        mask: Boolean (z, y, x): the predicted mask.
        voxel_ml: volume of a voxel in mL.

    Returns:
        The candidates and missed lesions in picai_eval's order (found lesions, missed lesions, false alarms; a
        candidate that overlaps enough with a lesion to which another was matched is neither), and every lesion.
    """
    box = bounding_box(reference | (detection > 0) | mask)
    if box is None:
        return (), ()
    from scipy import ndimage

    lesions, number = ndimage.label(reference[box], structure=_NEIGHBOURS)
    candidates, count = ndimage.label(detection[box] > 0, structure=_NEIGHBOURS)
    confidences = ndimage.maximum(detection[box], candidates, np.arange(1, count + 1)).astype(float) if count else []
    iou = _iou(lesions, number, candidates, count)
    iou[iou < MIN_IOU] = 0
    matched = _assign(iou)
    touching, _ = ndimage.label(mask[box], structure=_NEIGHBOURS)
    scores = tuple(
        _score(
            lesions == lesion + 1,
            touching,
            (float(confidences[matched[lesion]]), float(iou[lesion, matched[lesion]])) if lesion in matched else None,
            voxel_ml,
        )
        for lesion in range(number)
    )
    hits = [(1, score.confidence, score.iou) for score in scores if score.found]
    missed = [(1, 0.0, 0.0)] * (number - len(hits))
    alarms = [(0, float(confidences[c]), 0.0) for c in range(count) if not iou[:, c].any()]
    return (*hits, *missed, *alarms), scores


def _assign(iou: np.ndarray) -> dict[int, int]:
    """Lesion -> candidate: as many pairs as possible, and of these assignments the one of the largest total IoU."""
    from scipy import optimize

    rows, columns = optimize.linear_sum_assignment(iou + (iou > 0), maximize=True)
    return {int(r): int(c) for r, c in zip(rows, columns, strict=True) if iou[r, c] > 0}


def _iou(lesions: np.ndarray, n_lesions: int, candidates: np.ndarray, n_candidates: int) -> np.ndarray:
    """(lesions, candidates) intersection over union."""
    pairs = np.zeros((n_lesions + 1, n_candidates + 1))
    np.add.at(pairs, (lesions.ravel(), candidates.ravel()), 1)
    union = pairs.sum(axis=1, keepdims=True) + pairs.sum(axis=0, keepdims=True) - pairs
    return ((pairs + _EPSILON) / (union + _EPSILON))[1:, 1:]


def _score(
    lesion: np.ndarray, components: np.ndarray, match: tuple[float, float] | None, voxel_ml: float
) -> LesionScore:
    size = int(lesion.sum())
    hit = np.unique(components[lesion])
    predicted = np.isin(components, hit[hit > 0])
    inside = int((lesion & predicted).sum())
    confidence, iou = match or (0.0, 0.0)
    return LesionScore(
        volume_ml=size * voxel_ml,
        found=match is not None,
        confidence=confidence,
        iou=iou,
        recall=inside / size,
        dice=2 * inside / (size + int(predicted.sum())),
    )
