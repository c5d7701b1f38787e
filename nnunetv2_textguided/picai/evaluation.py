"""Evaluating a folder of predictions: the challenge's scores and the overlap of one model, with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnunetv2_textguided.errors import DataError, TextGuidedError
from nnunetv2_textguided.evaluation.bootstrap import draw, interval
from nnunetv2_textguided.evaluation.cases import CaseInfo, patient_of, read_case_table
from nnunetv2_textguided.evaluation.conventions import OVERLAP_METRICS
from nnunetv2_textguided.evaluation.detection_metrics import Found, picai_metrics
from nnunetv2_textguided.evaluation.estimates import Estimate, estimate
from nnunetv2_textguided.evaluation.metrics import FALSE_POSITIVES_PER_CASE, sensitivity_name
from nnunetv2_textguided.evaluation.options import Resampling, Scoring
from nnunetv2_textguided.evaluation.predictions import IMAGE_SUFFIXES, find_predictions
from nnunetv2_textguided.evaluation.results import CaseTable, build_table
from nnunetv2_textguided.evaluation.score import Score, ScoreJob
from nnunetv2_textguided.evaluation.scoring import score_all
from nnunetv2_textguided.nnunet.labels import Target
from nnunetv2_textguided.nnunet.splits import read_splits
from nnunetv2_textguided.picai.dataset_files import CASES, SPLITS
from nnunetv2_textguided.picai.folds import validation_fold

_MODEL = "predictions"


@dataclass(frozen=True)
class Evaluation:
    """Everything that was scored.

    Attributes:
        scoring, resampling: how.
        target: the class that was scored.
        table: the cases.
        failed: case -> why it could not be scored.
        unpredicted: labels of the chosen cases without a prediction.
        detection, overlap: metric -> estimate. Overlap metrics are means over the cases that count.
        metrics: picai_eval's Metrics.
    """

    scoring: Scoring
    resampling: Resampling
    target: Target
    table: CaseTable
    failed: dict[str, TextGuidedError]
    unpredicted: tuple[str, ...]
    detection: dict[str, Estimate]
    overlap: dict[str, Estimate]
    metrics: Any

    @property
    def cases(self) -> dict[str, Score]:
        """Case -> score."""
        return dict(zip(self.table.cases, self.table.lists[0], strict=True))


def plan_evaluation(
    predictions: Path, labels: Path, target: Target, scoring: Scoring, fold: int | None = None
) -> tuple[list[ScoreJob], tuple[str, ...]]:
    """Match predictions and labels.

    Args:
        predictions, labels: folders.
        target: the class that is scored.
        scoring: how.
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
    jobs = [ScoreJob(case, reference[case], {_MODEL: found[case]}, (target,), scoring) for case in sorted(found)]
    return jobs, tuple(sorted(wanted - found.keys()))


def run_evaluation(
    jobs: Sequence[ScoreJob],
    unpredicted: tuple[str, ...],
    resampling: Resampling,
    *,
    workers: int,
    progress: bool = True,
) -> Evaluation:
    """Score all cases.

    Args:
        jobs, unpredicted: from `plan_evaluation`.
        resampling: over patients: those of the cases.csv beside the label folder, else the cases' prefixes.
        workers, progress: processes, and whether to show a progress bar.

    Raises:
        DataError: no case could be scored, or the data set's cases.csv or splits_final.json is damaged.
    """
    dataset = jobs[0].label.parent.parent
    known = read_case_table(dataset / CASES) if (dataset / CASES).is_file() else {}
    folds = validation_fold(read_splits(dataset / SPLITS)) if (dataset / SPLITS).is_file() else {}
    scores, failed = score_all(jobs, workers=workers, progress=progress)
    if not scores:
        raise _none_scored(next(iter(failed.values())))
    infos = {case: known.get(case, CaseInfo(case, patient_of(case))) for case in scores}
    table = build_table({1: _MODEL}, {case: folds.get(case) for case in scores}, infos, scores)
    weights = draw(table.patients, resampling.resamples, resampling.seed)
    estimates, replicates = estimate(table, weights, resampling.level)
    metrics = picai_metrics(table.cases, table.found()[0])
    return Evaluation(
        scoring=jobs[0].scoring,
        resampling=resampling,
        target=jobs[0].targets[0],
        table=table,
        failed=failed,
        unpredicted=unpredicted,
        detection=_detection(metrics, table.found()[0], replicates, resampling.level),
        overlap={name: estimates[name] for name in OVERLAP_METRICS},
        metrics=metrics,
    )


def _none_scored(first: TextGuidedError) -> DataError:
    return DataError(f"No case could be scored; the first: {first.what}", where=first.where, remedy=first.remedy)


def _detection(metrics: Any, found: Found, drawn: dict[str, np.ndarray], level: float) -> dict[str, Estimate]:
    """picai_eval's own numbers, with the intervals of the replicates."""
    some, all_ = found.positive.any(), found.positive.all()
    # + 0.0: picai_eval's AP of nothing found is -0.0
    point = {
        "auroc": float(metrics.auroc) if some and not all_ else math.nan,
        "ap": float(metrics.AP) + 0.0 if some else math.nan,
    }
    point["picai_score"] = (point["auroc"] + point["ap"]) / 2
    for rate in FALSE_POSITIVES_PER_CASE:
        point[sensitivity_name(rate)] = float(metrics.lesion_TPR_at_FPR(rate)) if some else math.nan
    drawn = {**drawn, "picai_score": (drawn["auroc"] + drawn["ap"]) / 2}
    number = len(found.candidates)
    return {name: Estimate(value, interval(drawn[name], level), number) for name, value in point.items()}


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
    splits = read_splits(path)
    if not 0 <= fold < len(splits):
        raise DataError(f"There is no fold {fold}; the file has {len(splits)}.", where=path, remedy="Check --fold.")
    return set(splits[fold]["val"])
