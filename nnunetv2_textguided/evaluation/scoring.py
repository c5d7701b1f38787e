"""Scoring all cases in parallel, reusing what an earlier report has scored."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from nnunetv2_textguided.errors import TextGuidedError
from nnunetv2_textguided.evaluation.score import CaseScores, ScoreJob, score_case
from nnunetv2_textguided.evaluation.score_cache import ScoreCache
from nnunetv2_textguided.processes.pool import run_jobs


def score_all(
    jobs: Iterable[ScoreJob], *, workers: int, cache_folder: Path | None = None, progress: bool = True
) -> tuple[dict[str, CaseScores], dict[str, TextGuidedError]]:
    """Score cases.

    Args:
        jobs: the cases.
        workers: processes.
        cache_folder: where scores are kept; None: nowhere.
        progress: show a progress bar.

    Returns:
        Case -> model -> class -> score, and case -> why it could not be scored; both sorted by case.
    """
    cache = None if cache_folder is None else ScoreCache(cache_folder)
    known: dict[str, CaseScores] = {}
    waiting: list[ScoreJob] = []
    for job in jobs:
        known[job.case] = {} if cache is None else cache.read(job)
        new = {name: files for name, files in job.predictions.items() if name not in known[job.case]}
        if new:
            waiting.append(replace(job, predictions=new))
    failed: dict[str, TextGuidedError] = {}
    results = run_jobs(score_case, waiting, workers=max(1, min(workers, len(waiting))))
    for result in tqdm(results, total=len(waiting), desc="scoring", unit="case", disable=not (waiting and progress)):
        if result.value is not None:
            known[result.job.case] |= result.value
            if cache is not None:
                cache.write(result.job, result.value)
        elif result.error is not None:
            failed[result.job.case] = result.error
    return {case: known[case] for case in sorted(known.keys() - failed.keys())}, dict(sorted(failed.items()))
