"""Scoring all cases of a benchmark, in parallel, reusing what an earlier report has scored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from nnunetv2_textguided.benchmark.report.collect import Collected
from nnunetv2_textguided.benchmark.report.options import Scoring
from nnunetv2_textguided.errors import DataError, TextGuidedError
from nnunetv2_textguided.evaluation.score import CaseScores, ScoreJob, score_job
from nnunetv2_textguided.evaluation.score_cache import ScoreCache
from nnunetv2_textguided.nnunet.labels import Target
from nnunetv2_textguided.processes.pool import run_jobs


def score_all(
    collected: Collected,
    targets: tuple[Target, ...],
    ignored: int | None,
    scoring: Scoring,
    cache_folder: Path,
    *,
    workers: int,
) -> dict[str, CaseScores]:
    """Case -> variant -> class -> score.

    Args:
        collected: the predictions.
        targets, ignored: the classes that are scored, and the ignore label.
        scoring: the choices.
        cache_folder: where scores are kept.
        workers: processes.

    Raises:
        DataError: a case cannot be scored. None is left out silently: that would favour who fails on hard cases.
    """
    cache = ScoreCache(cache_folder)
    known: dict[str, CaseScores] = {}
    jobs: list[ScoreJob] = []
    for case, label in collected.labels.items():
        files = {variant.name: collected.predictions[variant][case] for variant in collected.variants}
        job = ScoreJob(case, label, files, targets, ignored, scoring)
        known[case] = cache.read(job)
        new = {name: f for name, f in files.items() if name not in known[case]}
        if new:
            jobs.append(replace(job, predictions=new))
    failed: list[TextGuidedError] = []
    outcomes = run_jobs(score_job, jobs, workers=max(1, min(workers, len(jobs))))
    for outcome in tqdm(outcomes, total=len(jobs), desc="scoring", unit="case", disable=not jobs):
        if outcome.value is not None:
            cache.write(outcome.job, outcome.value)
            known[outcome.job.case] |= outcome.value
        elif outcome.error is not None:
            failed.append(outcome.error)
    if failed:
        first = failed[0]
        raise DataError(f"{len(failed)} cases cannot be scored; one: {first.what}", where=first.where,
                        remedy=first.remedy)  # fmt: skip
    return known
