"""Jobs through submitit: processes of this machine, or SLURM; the same code for both."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunetv2_textguided.errors import DataError, TextGuidedError

EXECUTORS = ("local", "slurm")


def load_submitit(option: str, otherwise: str) -> Any:
    """The module submitit.

    Args:
        option: the command's option that asks for jobs.
        otherwise: what a user can do without it, for the error.

    Raises:
        TextGuidedError: it is not installed.
    """
    try:
        import submitit
    except ImportError as error:
        raise TextGuidedError(
            f"Jobs need submitit, which cannot be imported: {error}.",
            where=option,
            remedy=f'pip install "nnunetv2-textguided[benchmark]"; or {otherwise}.',
        ) from error
    return submitit


def make_executor(
    submitit: Any,
    kind: str,
    logs: Path,
    *,
    name: str,
    minutes: int,
    cpus: int,
    parallel: int,
    sbatch: Mapping[str, str],
    timeouts: int = 3,
) -> Any:
    """An executor of submitit.

    Args:
        submitit, kind: the module, and one of EXECUTORS.
        logs: folder of submitit's files; every job gets its own below it.
        name: name of the jobs.
        minutes, cpus: time limit and CPUs of a job.
        parallel: jobs of one array that SLURM runs at the same time.
        sbatch: further sbatch options, without their dashes.
        timeouts: how often a job that ran out of time is submitted again.

    Raises:
        DataError: there is no SLURM here.
    """
    if kind == "slurm" and shutil.which("sbatch") is None:
        remedy = "Run this on a machine that submits to SLURM."
        raise DataError("There is no sbatch here.", where="--executor slurm", remedy=remedy)
    executor = submitit.AutoExecutor(
        folder=logs / "%j", cluster=kind, local_max_num_timeout=timeouts, slurm_max_num_timeout=timeouts
    )
    executor.update_parameters(
        name=name,
        timeout_min=max(1, minutes),
        cpus_per_task=cpus,
        slurm_array_parallelism=parallel,
        slurm_additional_parameters=dict(sbatch),
    )
    return executor


def submission_errors(submitit: Any) -> tuple[type[Exception], ...]:
    """What submitit raises when a job cannot be submitted."""
    return (OSError, RuntimeError, submitit.core.utils.FailedJobError)


def parse_sbatch(items: list[str]) -> dict[str, str]:
    """KEY=VALUE words as sbatch options.

    Raises:
        DataError: a word has no "=".
    """
    wrong = [item for item in items if "=" not in item]
    if wrong:
        raise DataError(f"{wrong[0]!r} is no KEY=VALUE.", where="--sbatch", remedy="For example partition=gpu.")
    return dict(item.split("=", 1) for item in items)


def reason(error: Any) -> str:
    """What ended a job: the error at the end of its traceback, or what submitit says of a job that left none."""
    said = str(error).split("You can check full logs")[0]
    lines = [line for line in said.splitlines() if line.strip(" -")]
    # An error's own text starts at the margin; what it says of place and remedy is indented.
    start = max((number for number, line in enumerate(lines) if not line.startswith(" ")), default=0)
    return "; ".join(line.strip() for line in lines[start:]) or type(error).__name__
