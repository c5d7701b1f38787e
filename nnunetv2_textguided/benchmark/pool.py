"""Trainings as submitit's jobs: one process per slot on this machine, or jobs of SLURM."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnunetv2_textguided.benchmark.worker import Job, Outcome
from nnunetv2_textguided.demo.workspace import SEARCH_PATH
from nnunetv2_textguided.errors import DataError, TextGuidedError
from nnunetv2_textguided.files import shipped
from nnunetv2_textguided.processes.jobs import last_line, load_submitit, make_executor, submission_errors

FILE_DELAY_SECONDS = 30.0
"""A network file system may show a result that late after its job has ended."""
TIMEOUTS = 100
"""A training of days goes on over any number of SLURM's time limits."""
UNLIMITED_HOURS = 10_000.0


@dataclass(frozen=True)
class PoolOptions:
    """Where trainings run.

    Attributes:
        executor: "local" or "slurm".
        device: what nnU-Net's -device takes.
        slots: for each training at a time, the entry of CUDA_VISIBLE_DEVICES that it gets; None: none is set.
        hours: time limit of a SLURM job.
        cpus: CPUs of a SLURM job.
        sbatch: further sbatch options, without their dashes.
    """

    executor: str = "local"
    device: str = "cuda"
    slots: tuple[str | None, ...] = (None,)
    hours: float = 24.0
    cpus: int = 12
    sbatch: Mapping[str, str] = field(default_factory=dict)


class Pool:
    """Submits jobs and tells what becomes of them.

    Args:
        options: where to.
        logs: folder of submitit's files.

    Raises:
        TextGuidedError: submitit is not installed, or there is no SLURM here.
    """

    def __init__(self, options: PoolOptions, logs: Path) -> None:
        self.options = options
        self._submitit = load_submitit("benchmark run", "run the commands that --dry-run prints yourself")
        slurm = options.executor == "slurm"
        sbatch = dict(options.sbatch)
        if slurm and options.device == "cuda" and not any(key.startswith(("gpu", "gres")) for key in sbatch):
            sbatch["gres"] = "gpu:1"
        self._executor = make_executor(
            self._submitit,
            options.executor,
            logs,
            name="nnunetv2_benchmark",
            minutes=round(60 * (options.hours if slurm else UNLIMITED_HOURS)),
            cpus=options.cpus,
            parallel=len(options.slots),
            sbatch=sbatch,
            timeouts=TIMEOUTS,
        )
        self._ended: dict[int, float] = {}

    def submit(self, jobs: Sequence[Job]) -> list[Any]:
        """Submit jobs, on SLURM as one array.

        Raises:
            TextGuidedError: they cannot be submitted.
        """
        try:
            with _children_that_can_be_interrupted():
                if len(jobs) == 1:
                    return [self._executor.submit(jobs[0])]
                with self._executor.batch():
                    handles = [self._executor.submit(job) for job in jobs]
                return handles
        except submission_errors(self._submitit) as error:
            raise TextGuidedError(f"The jobs cannot be submitted: {error}", where=self.options.executor) from error

    def poll(self, handle: Any) -> Outcome | None:
        """What became of a job; None: it waits or runs. A job that left no result was killed, or its machine was."""
        if not handle.paths.result_pickle.exists():
            if not handle.done():
                return None
            ended = self._ended.setdefault(id(handle), time.monotonic())
            patience = FILE_DELAY_SECONDS if self.options.executor == "slurm" else 0.0
            if not handle.paths.result_pickle.exists():
                if time.monotonic() - ended < patience:
                    return None
                return Outcome("failed", f"its worker was lost (job {handle.job_id})", self._errors(handle), retry=True)
        failure = handle.exception()
        if failure is not None:
            return Outcome("failed", f"{last_line(failure)} (job {handle.job_id})", str(failure))
        outcome: Outcome = handle.result()
        return outcome

    def waits(self, handle: Any) -> bool:
        """Whether SLURM has not started a job yet."""
        return self.options.executor == "slurm" and str(handle.state).upper() in ("PENDING", "UNKNOWN", "REQUEUED")

    def cancel(self, handles: Sequence[Any]) -> None:
        """End the jobs of this machine. SLURM's go on: they are in nobody's way."""
        if self.options.executor == "local":
            for handle in handles:
                handle.cancel()
            for handle in handles:
                while not handle.done():
                    time.sleep(0.1)

    @staticmethod
    def _errors(handle: Any) -> str:
        lines = (handle.stderr() or "").strip().splitlines()
        return "\n".join(f"    {line}" for line in lines[-10:])


@contextmanager
def _children_that_can_be_interrupted() -> Iterator[None]:
    """submitit ends its jobs with SIGINT, which everything that a shell's script starts in the background ignores.

    What a process ignores, its children ignore: a run with `&` or nohup in a script could not end its trainings.
    """
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if ignored and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    else:
        yield


def local_slots(device: str, gpus: int | None, jobs: int | None) -> tuple[str | None, ...]:
    """A slot per GPU, or `jobs` slots without one.

    Args:
        device: what nnU-Net's -device takes.
        gpus: how many of the visible GPUs to use; None: all.
        jobs: trainings at a time where there are no GPUs to divide; None: one.

    Raises:
        DataError: there are not that many GPUs, or none.
    """
    if device != "cuda":
        if gpus:
            raise DataError("--gpus goes with --device cuda.", where="--gpus", remedy="Use --jobs N.")
        return (None,) * (jobs or 1)
    visible = _visible_gpus()
    if not visible or (gpus or 0) > len(visible):
        raise DataError(
            f"{gpus or 'A'} GPU{'s' if (gpus or 0) > 1 else ''} wanted, {len(visible)} visible.",
            where="--device cuda, --gpus, CUDA_VISIBLE_DEVICES",
            remedy="Use --device cpu --jobs N, --executor slurm, or a machine with GPUs.",
        )
    chosen = visible[: gpus or len(visible)]
    return tuple(chosen[index % len(chosen)] for index in range(jobs or len(chosen)))


def _visible_gpus() -> list[str]:
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [entry.strip() for entry in named.split(",") if entry.strip()]
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


def job_environment() -> dict[str, str]:
    """nnU-Net's variables, and where its trainers are, for jobs on other machines too."""
    searched = [folder for folder in os.environ.get(SEARCH_PATH, "").split(os.pathsep) if folder]
    if str(shipped("trainers")) not in searched:  # start-up files are off, or run from a source tree
        searched.append(str(shipped("trainers")))
    named = {key: value for key, value in os.environ.items() if key.startswith("nnUNet_")}
    return {**named, SEARCH_PATH: os.pathsep.join(searched)}
