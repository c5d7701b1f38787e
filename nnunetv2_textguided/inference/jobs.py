"""A cohort split over processes or a SLURM array: nnU-Net's parts, submitted by submitit, tables merged at the end."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunetv2_textguided.errors import TextGuidedError
from nnunetv2_textguided.inference.options import ModelOptions, OutputOptions, WorkOptions
from nnunetv2_textguided.processes.jobs import load_submitit, make_executor, reason, submission_errors

if TYPE_CHECKING:
    from nnunetv2_textguided.inference.run import Summary

LOGS = ".jobs"
"""Folder of submitit's files within the prediction folder."""


@dataclass(frozen=True)
class JobOptions:
    """Where a cohort is predicted.

    Attributes:
        jobs: number of parts, one job each.
        executor: "local" (processes of this machine) or "slurm" (one job array).
        hours: time limit of a job.
        cpus: CPUs of a job.
        sbatch: further sbatch options, without their dashes.
    """

    jobs: int = 1
    executor: str = "local"
    hours: float = 24.0
    cpus: int = 8
    sbatch: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """One part of a cohort. SLURM may end it and start it again: it then goes on with what is missing."""

    source: Path
    model: ModelOptions
    output: OutputOptions
    work: WorkOptions

    def __call__(self) -> Summary:
        """Predict the part."""
        from nnunetv2_textguided.inference.run import predict_folder

        return predict_folder(self.source, self.model, self.output, self.work)

    def checkpoint(self) -> Any:
        """What submitit submits anew when the job is preempted or runs out of time."""
        import submitit

        return submitit.helpers.DelayedSubmission(
            dataclasses.replace(self, work=dataclasses.replace(self.work, continued=True))
        )


def predict_cohort(
    source: Path, model: ModelOptions, output: OutputOptions, work: WorkOptions, options: JobOptions
) -> Summary:
    """Predict a folder in `options.jobs` jobs, wait for them, and merge their tables.

    Returns:
        What became of all cases. A job that died counts as a failure of its own, under the name of its part; what it
        had finished stays, and --continue_prediction goes on from there.

    Raises:
        TextGuidedError: submitit is not installed, there is no such executor, or nothing can be submitted.
    """
    from nnunetv2_textguided.inference.run import Summary, finish
    from nnunetv2_textguided.inference.tables import read_records

    parts = [
        Part(source, model, output, dataclasses.replace(work, part=part, parts=options.jobs))
        for part in range(options.jobs)
    ]
    total = Summary()
    for name, result in _run(parts, output.folder / LOGS, options):
        if isinstance(result, str):
            total.failed[name] = result
        else:
            total.predicted += result.predicted
            total.skipped += result.skipped
            total.failed |= result.failed
            total.remarks |= result.remarks
    finish(output, has_tables=any(True for _ in read_records(output.folder)))
    return total


def _run(parts: Sequence[Part], logs: Path, options: JobOptions) -> list[tuple[str, Summary | str]]:
    """Submit all parts and wait: each part's name with its summary, or with what ended it."""
    submitit = load_submitit("--jobs", "start parts with -num_parts and -part_id")
    executor = make_executor(
        submitit,
        options.executor,
        logs,
        name="nnunetv2_textguided",
        minutes=round(options.hours * 60),
        cpus=options.cpus,
        parallel=options.jobs,
        sbatch=options.sbatch,
    )
    try:
        with executor.batch():
            jobs = [executor.submit(part) for part in parts]
    except submission_errors(submitit) as error:
        raise TextGuidedError(f"The jobs cannot be submitted: {error}", where=options.executor) from error
    print(f"{len(jobs)} jobs submitted ({options.executor}); their logs are in {logs}", flush=True)
    results: list[tuple[str, Summary | str]] = []
    for part, job in zip(parts, jobs, strict=True):
        name = f"part {part.work.part} of {part.work.parts}"
        failure = job.exception()
        ended = None if failure is None else f"{reason(failure)} (job {job.job_id}, see {logs})"
        results.append((name, job.result() if ended is None else ended))
    return results
