"""Snakemake, called for one study: its command, its end, and what ends with it."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nnunetv2_textguided.demo.workspace import SEARCH_PATH
from nnunetv2_textguided.errors import DataError, TextGuidedError
from nnunetv2_textguided.files import shipped
from nnunetv2_textguided.processes.interrupts import interruptible
from nnunetv2_textguided.processes.supervised import supervised

LOG = "snakemake.log"
POLL_SECONDS = 1.0
PATIENCE_SECONDS = 6.0
"""How long an interrupted Snakemake has for cancelling its jobs, before it is killed with all of them."""
SLURM = {"partition": "slurm_partition", "account": "slurm_account"}
"""sbatch options that Snakemake's plugin wants as resources of their own."""


@dataclass(frozen=True)
class EngineOptions:
    """Where trainings run.

    Attributes:
        executor: "local" or "slurm".
        slots: trainings at a time.
        retries: how often a failed job is tried again.
        hours: time limit of a SLURM job.
        cpus: CPUs of a SLURM job.
        sbatch: further sbatch options, without their dashes.
    """

    executor: str = "local"
    slots: int = 1
    retries: int = 2
    hours: float = 24.0
    cpus: int = 12
    sbatch: Mapping[str, str] = field(default_factory=dict)


def check_engine(executor: str) -> None:
    """Check that the engine is there before any work is done.

    Raises:
        TextGuidedError: Snakemake, or its plugin for SLURM, is not installed.
    """
    wanted = ["snakemake", *(["snakemake_executor_plugin_slurm"] if executor == "slurm" else [])]
    missing = [name.replace("_", "-") for name in wanted if importlib.util.find_spec(name) is None]
    if missing:
        raise TextGuidedError(
            f"`benchmark run` needs {' and '.join(missing)}, which cannot be imported.",
            where="benchmark run",
            remedy=f"pip install {' '.join(missing)} (Python 3.11 or later); or run what --dry-run prints.",
        )


def engine_command(study: Path, options: EngineOptions) -> list[str]:
    """The command that runs a study's configuration, which lies beside the Snakefile."""
    words = [sys.executable, "-m", "snakemake", "--snakefile", str(study.parent / "Snakefile")]
    words += ["--configfile", str(study), "--directory", str(study.parent), "--workflow-profile", "none"]
    # Jobs see for themselves what is whole. With --rerun-incomplete, Snakemake 9 runs a training that was ended while
    # it validated, and then nothing else.
    words += ["--keep-going", "--ignore-incomplete", "--keep-incomplete", "--rerun-triggers", "mtime", "--nolock"]
    words += ["--scheduler", "greedy", "--retries", str(options.retries), "--latency-wait", "30"]
    if options.executor == "local":
        return [*words, "--cores", str(options.slots), "--resources", f"gpu={options.slots}"]
    words += ["--executor", "slurm", "--jobs", str(options.slots), "--default-resources"]
    words += [f"runtime={max(1, round(60 * options.hours))}", f"cpus_per_task={options.cpus}"]
    words += [f"{SLURM[key]}={value}" for key, value in options.sbatch.items() if key in SLURM]
    extra = " ".join(f"--{key}={value}" for key, value in options.sbatch.items() if key not in SLURM)
    return [*words, *([f"slurm_extra='{extra}'"] if extra else [])]


def run_engine(study: Path, options: EngineOptions, look: Callable[[], None]) -> int:
    """Run a study to its end; `look` is called about every second.

    Returns:
        Snakemake's exit status; negative: the signal that killed it.

    Raises:
        KeyboardInterrupt: SIGINT or SIGTERM came, wherever this was started; no training runs on.
    """
    words = engine_command(study, options)
    report = study.with_suffix(f".{os.getpid()}.exit")
    with (
        interruptible(),
        (study.parent / LOG).open("ab") as log,
        supervised(words, report, log, job_environment()) as engine,
    ):
        try:
            while engine.runs():
                look()
                time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            engine.interrupt(PATIENCE_SECONDS)
            raise
        return int(engine.measured().get("status", -signal.SIGKILL))


def gpu_slots(gpus: int | None, jobs: int | None) -> tuple[str, ...]:
    """For each training at a time, its entry of CUDA_VISIBLE_DEVICES.

    Args:
        gpus: how many of the visible GPUs to use; None: all.
        jobs: trainings at a time; None: one per GPU.

    Raises:
        DataError: there are not that many GPUs, or none.
    """
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
    """This process's environment, and in it where nnU-Net finds our trainers, also where start-up files are off."""
    searched = [folder for folder in os.environ.get(SEARCH_PATH, "").split(os.pathsep) if folder]
    if str(shipped("trainers")) not in searched:
        searched.append(str(shipped("trainers")))
    return {**os.environ, SEARCH_PATH: os.pathsep.join(searched)}
