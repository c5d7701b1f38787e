"""Evaluating one case: read prediction and label, score detection and overlap. Runs in a worker process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.evaluation.conventions import EmptyMask, MissedDistance
from nnunetv2_textguided.evaluation.detection import Candidate, extract_candidates, score_case
from nnunetv2_textguided.evaluation.lesions import count_components
from nnunetv2_textguided.evaluation.overlap import overlap_metrics
from nnunetv2_textguided.evaluation.predictions import Files, Kind, read_prediction
from nnunetv2_textguided.imaging.geometry import compare_grids
from nnunetv2_textguided.imaging.images import read_mask
from nnunetv2_textguided.nnunet.labels import Target


@dataclass(frozen=True)
class EvaluationOptions:
    """How predictions are scored.

    Attributes:
        threshold: of the lesion extraction: "dynamic" (the challenge's), "dynamic-fast", or a probability.
        mask_threshold: where a mask is made from a probability map alone.
        empty: what an empty mask counts as.
        missed: HD95 where exactly one mask is empty.
        replicates, seed, level: of the patient bootstrap.
    """

    threshold: str | float = "dynamic"
    mask_threshold: float = 0.5
    empty: EmptyMask = EmptyMask.POSITIVES_ONLY
    missed: MissedDistance = MissedDistance.EXCLUDE
    replicates: int = 1000
    seed: int = 0
    level: float = 0.95


@dataclass(frozen=True)
class EvaluationJob:
    """What a worker needs to evaluate one case; picklable."""

    case: str
    prediction: Files
    label: Path
    target: Target
    options: EvaluationOptions


@dataclass(frozen=True)
class CaseScore:
    """One case's scores.

    Attributes:
        case: its identifier.
        kind: what the prediction is.
        candidates: (is it a lesion, confidence, overlap) for each candidate and missed lesion.
        score: the case-level score, the maximum of the detection map.
        overlap: OVERLAP_METRICS; NaN where the case does not count.
        lesions: number of reference lesions.
        reference_ml, predicted_ml: volumes in mL.
    """

    case: str
    kind: Kind
    candidates: tuple[Candidate, ...]
    score: float
    overlap: dict[str, float]
    lesions: int
    reference_ml: float
    predicted_ml: float


def evaluate_case(job: EvaluationJob) -> CaseScore:
    """Evaluate one case.

    Raises:
        DataError: a file is missing or damaged, or prediction and label are on different grids.
    """
    prediction = read_prediction(job.prediction, job.target, job.options.mask_threshold)
    label = read_mask(job.label)
    reference = np.isin(sitk.GetArrayFromImage(label), list(job.target.values))
    where = job.prediction.probabilities or job.prediction.image
    if prediction.map.shape != reference.shape:
        _differ(f"shape {prediction.map.shape} instead of {reference.shape}", where, job.label)
    if prediction.grid is not None:
        difference = compare_grids(prediction.grid, label)
        if not difference.same_grid:
            _differ(str(difference), where, job.label)
    detection = prediction.map
    if prediction.kind in (Kind.PROBABILITIES, Kind.PROBABILITY_MAP):
        detection = extract_candidates(prediction.map, job.options.threshold)
    candidates, score = score_case(detection, reference)
    spacing = label.GetSpacing()[::-1]
    overlap = overlap_metrics(reference, prediction.mask, spacing, empty=job.options.empty, missed=job.options.missed)
    return CaseScore(
        case=job.case,
        kind=prediction.kind,
        candidates=tuple(candidates),
        score=score,
        overlap=overlap,
        lesions=count_components(reference),
        reference_ml=_millilitres(reference, spacing),
        predicted_ml=_millilitres(prediction.mask, spacing),
    )


def _millilitres(mask: np.ndarray, spacing: tuple[float, ...]) -> float:
    return int(np.count_nonzero(mask)) * float(np.prod(spacing)) / 1000


def _differ(how: str, prediction: Path | None, label: Path) -> None:
    raise DataError(
        f"Prediction and label are on different grids: {how}.",
        where=f"{prediction}, {label}",
        remedy="Predict the images that the labels belong to; predictions of cropped images need the cropped labels.",
    )
