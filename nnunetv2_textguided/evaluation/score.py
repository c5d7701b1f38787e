"""Scoring one case for every variant at once. Runs in a worker process; the reference is read once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from nnunetv2_textguided.benchmark.report.options import Scoring
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.evaluation.detection import Candidate, extract_candidates, score_case
from nnunetv2_textguided.evaluation.lesion_matching import LesionScore, match_lesions
from nnunetv2_textguided.evaluation.overlap import overlap_metrics
from nnunetv2_textguided.evaluation.postprocess import postprocess
from nnunetv2_textguided.evaluation.predictions import Files, Kind, read_prediction
from nnunetv2_textguided.imaging.geometry import compare_grids
from nnunetv2_textguided.imaging.images import read_mask
from nnunetv2_textguided.nnunet.labels import Target


@dataclass(frozen=True)
class ScoreJob:
    """What a worker needs; picklable.

    Attributes:
        case: its identifier.
        label: reference segmentation.
        predictions: name of a variant -> its files.
        targets: the classes that are scored.
        ignored: value of the ignore label.
        scoring: the choices.
    """

    case: str
    label: Path
    predictions: dict[str, Files]
    targets: tuple[Target, ...]
    ignored: int | None
    scoring: Scoring


@dataclass(frozen=True)
class Score:
    """One variant's result on one class of one case.

    Attributes:
        probabilities: whether lesions have confidences, or all have 1 because only a mask was saved.
        overlap: OVERLAP_METRICS; NaN where the case does not count.
        candidates: (is it a lesion, confidence, overlap) for each candidate and missed lesion.
        score: of the case: the maximum of the detection map.
        lesions: of the reference.
        reference_ml, predicted_ml: volumes.
    """

    probabilities: bool
    overlap: dict[str, float]
    candidates: tuple[Candidate, ...]
    score: float
    lesions: tuple[LesionScore, ...]
    reference_ml: float
    predicted_ml: float


# Variant -> class -> score.
CaseScores = dict[str, dict[str, Score]]


def score_job(job: ScoreJob) -> CaseScores:
    """Score a case.

    Raises:
        DataError: a file is missing or damaged, or a prediction is on another grid than the reference.
    """
    label = read_mask(job.label)
    values = sitk.GetArrayFromImage(label)
    return {
        name: {target.name: _score(files, target, label, values, job) for target in job.targets}
        for name, files in job.predictions.items()
    }


def _score(files: Files, target: Target, label: sitk.Image, values: np.ndarray, job: ScoreJob) -> Score:
    prediction = read_prediction(files, target)
    _check_grid(prediction.map, prediction.grid, label, files, job)
    reference, probability, mask = np.isin(values, list(target.values)), prediction.map, prediction.mask
    if job.ignored is not None:
        counts = values != job.ignored
        reference, mask, probability = reference & counts, mask & counts, np.where(counts, probability, 0)
    has_probabilities = prediction.kind in (Kind.PROBABILITIES, Kind.PROBABILITY_MAP)
    detection = extract_candidates(probability, job.scoring.extraction) if has_probabilities else probability
    candidates, score = score_case(detection, reference)
    mask = postprocess(mask, job.scoring)
    spacing = label.GetSpacing()[::-1]
    voxel_ml = float(np.prod(spacing)) / 1000
    scoring = job.scoring
    return Score(
        probabilities=has_probabilities,
        overlap=overlap_metrics(reference, mask, spacing, empty=scoring.empty, missed=scoring.missed),
        candidates=tuple(candidates),
        score=score,
        lesions=match_lesions(reference, detection, mask, voxel_ml),
        reference_ml=int(np.count_nonzero(reference)) * voxel_ml,
        predicted_ml=int(np.count_nonzero(mask)) * voxel_ml,
    )


def _check_grid(map_: np.ndarray, grid: sitk.Image | None, label: sitk.Image, files: Files, job: ScoreJob) -> None:
    shape = label.GetSize()[::-1]
    problem = f"shape {map_.shape} instead of {shape}" if map_.shape != shape else ""
    if not problem and grid is not None:
        difference = compare_grids(grid, label)
        problem = "" if difference.same_grid else str(difference)
    if problem:
        raise DataError(
            f"Prediction and reference of case {job.case} are on different grids: {problem}.",
            where=f"{files.image or files.probabilities}, {job.label}",
            remedy="Validate this fold again: `nnUNetv2_train ... --val`.",
        )


def as_json(scores: dict[str, Score]) -> dict[str, Any]:
    """One variant's scores as JSON values; NaN becomes null."""
    return {
        name: {
            **vars(score),
            "overlap": {key: None if value != value else value for key, value in score.overlap.items()},
            "lesions": [vars(lesion) for lesion in score.lesions],
        }
        for name, score in scores.items()
    }


def from_json(values: dict[str, Any]) -> dict[str, Score]:
    """The reverse of `as_json`."""
    return {
        name: Score(
            **{
                **score,
                "overlap": {key: float("nan") if value is None else value for key, value in score["overlap"].items()},
                "candidates": tuple((int(a), float(b), float(c)) for a, b, c in score["candidates"]),
                "lesions": tuple(LesionScore(**lesion) for lesion in score["lesions"]),
            }
        )
        for name, score in values.items()
    }
