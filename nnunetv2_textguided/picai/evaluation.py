"""Evaluating a folder of predictions: every case in parallel, then the challenge's scores with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from nnunetv2_textguided.errors import DataError, TextGuidedError
from nnunetv2_textguided.evaluation.bootstrap import Interval, draw, interval, means, replicate
from nnunetv2_textguided.evaluation.conventions import OVERLAP_METRICS
from nnunetv2_textguided.evaluation.detection import FALSE_POSITIVES_PER_CASE, collect
from nnunetv2_textguided.evaluation.evaluate_case import CaseScore, EvaluationJob, EvaluationOptions, evaluate_case
from nnunetv2_textguided.evaluation.froc import LesionCurve
from nnunetv2_textguided.evaluation.predictions import IMAGE_SUFFIXES, Files, find_predictions
from nnunetv2_textguided.files import read_json
from nnunetv2_textguided.nnunet.labels import Target
from nnunetv2_textguided.picai.archive import patient_of
from nnunetv2_textguided.picai.dataset_files import CASES, SPLITS, read_cases
from nnunetv2_textguided.picai.folds import check_folds
from nnunetv2_textguided.processes.pool import run_jobs


@dataclass(frozen=True)
class Estimate:
    """A number over all cases: its value (NaN where undefined), interval, and how many cases it rests on."""

    value: float
    interval: Interval
    cases: int


@dataclass(frozen=True)
class Evaluation:
    """Everything that was scored.

    Attributes:
        options: how.
        target: the class that was scored.
        cases: scores by case.
        failed: case -> why it could not be scored.
        unpredicted: labels of the chosen cases without a prediction.
        detection, overlap: metric -> estimate. Overlap metrics are means over the cases that count.
        metrics: picai_eval's Metrics.
    """

    options: EvaluationOptions
    target: Target
    cases: dict[str, CaseScore]
    failed: dict[str, TextGuidedError]
    unpredicted: tuple[str, ...]
    detection: dict[str, Estimate]
    overlap: dict[str, Estimate]
    metrics: Any


def plan_evaluation(
    predictions: Path, labels: Path, target: Target, options: EvaluationOptions, fold: int | None = None
) -> tuple[list[EvaluationJob], tuple[str, ...]]:
    """Match predictions and labels.

    Args:
        predictions, labels: folders.
        target: the class that is scored.
        options: how.
        fold: score the validation cases of this fold only, by splits_final.json beside the label folder.

    Returns:
        A job for each prediction, and the cases that have a label but no prediction (of the fold, if one is given).

    Raises:
        DataError: a prediction has no label, or there is nothing to score.
    """
    found, reference = find_predictions(predictions), _labels(labels)
    wanted = set(reference)
    if fold is not None:
        wanted &= _validation_cases(labels.parent / SPLITS, fold)
        found = {case: files for case, files in found.items() if case in wanted}
    without_label = sorted(found.keys() - reference.keys())
    if without_label:
        raise DataError(
            f"{len(without_label)} predictions have no label, for example {without_label[0]}.",
            where=labels,
            remedy="Check --labels; for predictions of another data set pass that one's label folder.",
        )
    if not found:
        raise DataError("No prediction belongs to the chosen cases.", where=predictions, remedy="Check --fold.")
    jobs = [_job(case, found[case], reference[case], target, options) for case in sorted(found)]
    return jobs, tuple(sorted(wanted - found.keys()))


def run_evaluation(
    jobs: Sequence[EvaluationJob],
    unpredicted: tuple[str, ...],
    patients: Mapping[str, str],
    *,
    workers: int,
    progress: bool = True,
) -> Evaluation:
    """Score all cases.

    Args:
        jobs, unpredicted: from `plan_evaluation`.
        patients: case -> patient, for the bootstrap; the part before the first underscore where a case is missing.
        workers: processes.
        progress: show a progress bar.

    Raises:
        DataError: no case could be scored.
    """
    cases: dict[str, CaseScore] = {}
    failed: dict[str, TextGuidedError] = {}
    outcomes = run_jobs(evaluate_case, jobs, workers=min(workers, len(jobs)))
    for outcome in tqdm(outcomes, total=len(jobs), desc="evaluating", unit="case", disable=not progress):
        if outcome.value is not None:
            cases[outcome.job.case] = outcome.value
        elif outcome.error is not None:
            failed[outcome.job.case] = outcome.error
    if not cases:
        first = next(iter(failed.values()))
        raise DataError(f"No case could be scored; the first: {first.what}", where=first.where, remedy=first.remedy)
    cases = dict(sorted(cases.items()))
    options = jobs[0].options
    weights = draw([patients.get(case, patient_of(case)) for case in cases], options.replicates, options.seed)
    metrics = collect({k: c.candidates for k, c in cases.items()}, {k: c.score for k, c in cases.items()})
    return Evaluation(
        options=options,
        target=jobs[0].target,
        cases=cases,
        failed=failed,
        unpredicted=unpredicted,
        detection=_detection(metrics, cases, weights, options.level),
        overlap=_overlap(cases, weights, options.level),
        metrics=metrics,
    )


def patients_of(labels: Path) -> dict[str, str]:
    """Case -> patient from the cases.csv beside a data set's label folder; empty where there is none."""
    path = labels.parent / CASES
    return {case: row["patient"] for case, row in read_cases(path).items()} if path.is_file() else {}


def _detection(metrics: Any, cases: dict[str, CaseScore], weights: np.ndarray, level: float) -> dict[str, Estimate]:
    names = list(cases)
    targets = [bool(metrics.case_target[case]) for case in names]
    lesions = int(metrics.num_lesions)

    def auroc(index: np.ndarray) -> float:
        chosen = {targets[i] for i in set(index.tolist())}
        return float(metrics.calc_auroc([names[i] for i in index])) if len(chosen) == 2 else math.nan

    def average_precision(index: np.ndarray) -> float:
        some = any(targets[i] for i in index)
        # + 0.0: picai_eval's AP of nothing found is -0.0
        return float(metrics.calc_AP([names[i] for i in index])) + 0.0 if some else math.nan

    everything = np.arange(len(names))
    point = {"auroc": auroc(everything), "ap": average_precision(everything)}
    replicates = {"auroc": replicate(auroc, weights), "ap": replicate(average_precision, weights)}
    point["picai_score"] = (point["auroc"] + point["ap"]) / 2
    replicates["picai_score"] = (replicates["auroc"] + replicates["ap"]) / 2
    curve = LesionCurve({case: score.candidates for case, score in cases.items()}, names)
    sensitivity = curve.sensitivity(weights, FALSE_POSITIVES_PER_CASE)
    for column, rate in enumerate(FALSE_POSITIVES_PER_CASE):
        name = f"sensitivity_at_{rate:g}_fp"
        point[name] = float(metrics.lesion_TPR_at_FPR(rate)) if lesions else math.nan
        replicates[name] = sensitivity[:, column]
    return {name: Estimate(value, interval(replicates[name], level), len(names)) for name, value in point.items()}


def _overlap(cases: dict[str, CaseScore], weights: np.ndarray, level: float) -> dict[str, Estimate]:
    estimates = {}
    for name in OVERLAP_METRICS:
        values = np.array([score.overlap[name] for score in cases.values()])
        counting = values[np.isfinite(values)]
        mean = float(counting.mean()) if counting.size else math.nan
        estimates[name] = Estimate(mean, interval(means(values, weights), level), int(counting.size))
    return estimates


def _job(case: str, files: Files, label: Path, target: Target, options: EvaluationOptions) -> EvaluationJob:
    return EvaluationJob(case, files, label, target, options)


def _labels(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        suffix = next((s for s in IMAGE_SUFFIXES if path.name.endswith(s)), None)
        if suffix and not path.name.startswith("."):
            found[path.name[: -len(suffix)].removesuffix("_label")] = path
    if not found:
        raise DataError(
            "The label folder does not exist or holds no label.",
            where=folder,
            remedy="Pass labelsTr of the raw data set, or gt_segmentations of the preprocessed one.",
        )
    return found


def _validation_cases(path: Path, fold: int) -> set[str]:
    splits = check_folds(read_json(path, error=DataError), path)
    if not 0 <= fold < len(splits):
        raise DataError(f"There is no fold {fold}; the file has {len(splits)}.", where=path, remedy="Check --fold.")
    return set(splits[fold]["val"])
