"""Scoring one case: its reference is read once, and each prediction of it once. Runs in a worker process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.evaluation.detection import extract_candidates
from nnunetv2_textguided.evaluation.lesion_matching import LesionResult, LesionScore, match_lesions
from nnunetv2_textguided.evaluation.options import Scoring
from nnunetv2_textguided.evaluation.overlap import overlap_metrics
from nnunetv2_textguided.evaluation.postprocess import postprocess
from nnunetv2_textguided.evaluation.predictions import UNKNOWN_VALUES, Files, Kind, Prediction, read_predictions
from nnunetv2_textguided.evaluation.thresholds import Curve, curve_of, curve_of_text
from nnunetv2_textguided.imaging.geometry import compare_grids
from nnunetv2_textguided.imaging.images import read_mask
from nnunetv2_textguided.nnunet.labels import Target


class NoReferenceError(DataError):
    """A case cannot be scored because nobody outlined it; that says nothing about any prediction."""


@dataclass(frozen=True)
class ScoreJob:
    """What a worker needs; picklable.

    Attributes:
        case: its identifier.
        label: reference segmentation.
        predictions: name of a model -> its files.
        targets: the classes that are scored.
        scoring: the choices.
    """

    case: str
    label: Path
    predictions: dict[str, Files]
    targets: tuple[Target, ...]
    scoring: Scoring


@dataclass(frozen=True)
class Score:
    """One model's result on one class of one case.

    Attributes:
        kind: what the prediction is.
        overlap: OVERLAP_METRICS; NaN where the case does not count.
        candidates: the candidates and missed lesions.
        score: of the case: the maximum of the detection map.
        lesions: of the reference.
        reference_ml, predicted_ml: volumes.
        curve: counts of voxels at each threshold, before any post-processing; None without probabilities.
    """

    kind: Kind
    overlap: dict[str, float]
    candidates: tuple[LesionResult, ...]
    score: float
    lesions: tuple[LesionScore, ...]
    reference_ml: float
    predicted_ml: float
    curve: Curve | None


# Model -> class -> score.
CaseScores = dict[str, dict[str, Score]]


def score_case(job: ScoreJob) -> CaseScores:
    """Score a case.

    Raises:
        DataError: a file is missing or damaged, has values that the data set has no label for, or a prediction
            is on another grid than the reference.
        NoReferenceError: all of the reference is ignored; the case is no negative.
    """
    label = read_mask(job.label, job.targets[0].known, UNKNOWN_VALUES)
    values = sitk.GetArrayFromImage(label)
    ignored = job.targets[0].ignored
    counts = None if ignored is None else values != ignored
    if counts is not None and not counts.any():
        raise NoReferenceError(
            f"Case {job.case} has no reference: its label map holds the ignore label alone.",
            where=job.label,
            remedy="Score annotated cases only, such as a fold's validation cases.",
        )
    scores: CaseScores = {}
    for name, files in job.predictions.items():
        predictions = read_predictions(files, job.targets, job.scoring.mask_threshold)
        _check_grid(predictions[0], label, files, job)
        scores[name] = {
            target.name: _score(np.isin(values, list(target.values)), prediction, counts, label, job.scoring)
            for target, prediction in zip(job.targets, predictions, strict=True)
        }
    return scores


def _score(
    reference: np.ndarray, prediction: Prediction, counts: np.ndarray | None, label: sitk.Image, scoring: Scoring
) -> Score:
    detection, mask = prediction.map, prediction.mask
    if counts is not None:
        reference, mask, detection = reference & counts, mask & counts, np.where(counts, detection, 0)
    spacing = label.GetSpacing()[::-1]
    voxel_ml = float(np.prod(spacing)) / 1000
    curve = None
    if prediction.kind.has_probabilities:
        inside = slice(None) if counts is None else counts
        curve = curve_of(prediction.map[inside], reference[inside], voxel_ml)
        detection = extract_candidates(detection, scoring.extraction)
    mask = postprocess(mask, scoring)
    candidates, lesions = match_lesions(reference, detection, mask, voxel_ml)
    return Score(
        kind=prediction.kind,
        overlap=overlap_metrics(reference, mask, spacing, empty=scoring.empty, missed=scoring.missed),
        candidates=candidates,
        score=float(detection.max()),
        lesions=lesions,
        reference_ml=int(np.count_nonzero(reference)) * voxel_ml,
        predicted_ml=int(np.count_nonzero(mask)) * voxel_ml,
        curve=curve,
    )


def _check_grid(prediction: Prediction, label: sitk.Image, files: Files, job: ScoreJob) -> None:
    shape, expected = prediction.map.shape, label.GetSize()[::-1]
    problem = f"shape {shape} instead of {expected}" if shape != expected else ""
    if not problem and prediction.grid is not None:
        difference = compare_grids(prediction.grid, label)
        problem = "" if difference.same_grid else str(difference)
    if problem:
        raise DataError(
            f"Prediction and reference of case {job.case} are on different grids: {problem}.",
            where=f"{files.probabilities or files.image}, {job.label}",
            remedy="Predict the images that the labels belong to, or validate the fold again (`nnUNetv2_train ... "
            "--val`); predictions of cropped images need the cropped labels.",
        )


def as_json(scores: dict[str, Score]) -> dict[str, Any]:
    """One model's scores as JSON values; NaN becomes null."""
    return {
        name: {
            **vars(score),
            "kind": score.kind.name,
            "overlap": {key: None if value != value else value for key, value in score.overlap.items()},
            "lesions": [vars(lesion) for lesion in score.lesions],
            "curve": None if score.curve is None else score.curve.as_text(),
        }
        for name, score in scores.items()
    }


def from_json(values: dict[str, Any]) -> dict[str, Score]:
    """The reverse of `as_json`."""
    return {
        name: Score(
            **{
                **score,
                "kind": Kind[score["kind"]],
                "overlap": {key: float("nan") if value is None else value for key, value in score["overlap"].items()},
                "candidates": tuple((int(a), float(b), float(c)) for a, b, c in score["candidates"]),
                "lesions": tuple(LesionScore(**lesion) for lesion in score["lesions"]),
                "curve": None if score["curve"] is None else curve_of_text(score["curve"]),
            }
        )
        for name, score in values.items()
    }
