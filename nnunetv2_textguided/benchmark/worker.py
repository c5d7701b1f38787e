"""One training, from whatever its folder holds to its validation: what a job does, on whichever machine it runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnunetv2_textguided.benchmark.cells import Step, command, command_line, next_step, set_damaged_aside
from nnunetv2_textguided.benchmark.claim import Claim, Holder, take_claim
from nnunetv2_textguided.benchmark.facts import ModelFacts
from nnunetv2_textguided.benchmark.hardware import GpuMemory, describe_hardware
from nnunetv2_textguided.benchmark.progress import Progress, ProgressReader
from nnunetv2_textguided.benchmark.record import Recorder
from nnunetv2_textguided.benchmark.study import Cell
from nnunetv2_textguided.files import read_json, visible
from nnunetv2_textguided.processes.command import find_command, tail

OUTPUT = "benchmark_output.txt"
"""Everything that nnU-Net's commands print, in the fold's folder."""
EXIT_REPORT = ".benchmark_exit.json"
POLL_SECONDS = 0.5
LOST_HELPERS = "background workers are no longer alive"
"""What nnU-Net says when the system killed one of its own processes, mostly for want of memory."""


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes:
        status: "done", "busy" (somebody else works on this training), or "failed".
        reason: in one line.
        log: the last lines of what nnU-Net printed.
        retry: whether another try may go better: a process was killed, or the training had come forward.
    """

    status: str
    reason: str = ""
    log: str = ""
    retry: bool = False


@dataclass(frozen=True)
class Job:
    """One training to be done. SLURM may end it and start it again: it goes on from the last checkpoint.

    Attributes:
        cell: which.
        dataset: full name of the data set.
        results: the folder nnUNet_results.
        cases: the fold's validation cases.
        device: what nnU-Net's -device takes.
        gpu: entry of CUDA_VISIBLE_DEVICES; None: whatever the scheduler gives.
        environment: variables that the job needs besides those that it finds.
        facts: of the model, for the record.
        program: what to run instead of nnU-Net's command; for tests of everything around it.
    """

    cell: Cell
    dataset: str
    results: Path
    cases: tuple[str, ...]
    device: str
    gpu: str | None
    environment: Mapping[str, str]
    facts: ModelFacts
    program: tuple[str, ...] = field(default=())

    def __call__(self) -> Outcome:
        """Train and validate what is missing; never raises for what nnU-Net does."""
        folder = self.cell.folder(self.results, self.dataset)
        claim = take_claim(folder)
        if isinstance(claim, Holder):
            return Outcome("busy", str(claim))
        try:
            return self._finish(folder, claim)
        finally:
            claim.release()

    def checkpoint(self) -> Any:
        """What submitit submits anew when the job is preempted or runs out of time."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)

    def _finish(self, folder: Path, claim: Claim) -> Outcome:
        reader = ProgressReader()
        set_damaged_aside(folder)
        step = next_step(folder, self.cases)
        if step is Step.NOTHING:
            return Outcome("done")
        before = _state(folder, reader.read(folder))
        status = _Run(self, folder, claim, step, reader).run()
        after = next_step(folder, self.cases)
        if status == 0 and after is Step.NOTHING:
            return Outcome("done")
        log = tail(folder / OUTPUT)
        reason = _reason(status, after, log)
        progressed = _state(folder, reader.read(folder)) != before
        return Outcome("failed", reason, log, status < 0 or progressed or LOST_HELPERS in log)


class _Run:
    """One command of nnU-Net's, watched and recorded."""

    def __init__(self, job: Job, folder: Path, claim: Claim, step: Step, reader: ProgressReader) -> None:
        self.job, self.folder, self.claim, self.reader = job, folder, claim, reader
        self.words = command(job.cell, job.dataset, step, job.device)
        self.gpu = None if job.device != "cuda" else job.gpu or os.environ.get("CUDA_VISIBLE_DEVICES", "0")
        if self.gpu is not None:
            self.gpu = self.gpu.split(",")[0]
        self.memory = GpuMemory(self.gpu)
        self.recorder = Recorder(folder, job.cell, job.dataset, job.facts, job.cases)

    def run(self) -> int:
        """The command's exit status; negative: the signal that killed it."""
        self.recorder.begin(command_line(self.words), describe_hardware(self.gpu), self.reader.read(self.folder))
        report = self.folder / EXIT_REPORT
        report.unlink(missing_ok=True)
        status, outcome = -int(signal.SIGKILL), "interrupted"
        measured: dict[str, Any] = {}
        try:
            measured = self._watch(report)
            status = int(measured.get("status", status))
            outcome = "finished" if status == 0 else _ended(status)
        finally:
            peaks = {"peak_resident_bytes": measured.get("peak_resident_bytes")}
            peaks["peak_gpu_bytes"] = self.memory.peak_bytes
            self.recorder.end(outcome, self.reader.read(self.folder), peaks)
        return status

    def _watch(self, report: Path) -> dict[str, Any]:
        """Run the command to its end; the keeper's report, empty where that was killed."""
        words = self.job.program or (find_command(self.words[0]),)
        keeper = [sys.executable, "-m", "nnunetv2_textguided.benchmark.keeper", str(report), *words, *self.words[1:]]
        with (self.folder / OUTPUT).open("ab") as output:
            output.write(f"\n$ {command_line(self.words)}\n".encode())
            output.flush()
            child = subprocess.Popen(
                keeper,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment(),
                start_new_session=True,
            )
        try:
            self.claim.include(child.pid)
            while child.poll() is None:
                self.claim.beat()
                self.memory.sample()
                time.sleep(POLL_SECONDS)
        finally:
            if not report.is_file():  # this worker is being stopped, or the keeper was killed: its group goes, too
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        measured: dict[str, Any] = read_json(report) if report.is_file() else {}
        report.unlink(missing_ok=True)
        return measured

    def _environment(self) -> dict[str, str]:
        # Threads that spin while they wait make training five times slower as soon as anything else runs.
        environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, **self.job.environment}
        if self.job.gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = self.job.gpu
        return environment


def _state(folder: Path, progress: Progress) -> tuple[Any, ...]:
    """Something that differs when a training has come forward."""
    validation = folder / "validation"
    return progress.epochs, (folder / "checkpoint_final.pth").is_file(), len(visible(validation, "*.nii.gz"))


def _ended(status: int) -> str:
    if status > 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"


def _reason(status: int, after: Step, log: str) -> str:
    if status == 0:
        missing = "a validation of all cases" if after is Step.VALIDATE else "checkpoint_final.pth"
        return f"nnU-Net ended without an error, but without {missing}"
    last = log.strip().splitlines()[-1].strip() if log.strip() else ""
    return f"{_ended(status)}: {last}" if status > 0 else _ended(status)
