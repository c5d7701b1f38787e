"""One job of the workflow: a training, or its validation, from whatever the fold's folder holds.

python -m nnunetv2_textguided.benchmark.job STUDY.json train|validate MODEL/fold_N ATTEMPT
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunetv2_textguided.benchmark.cells import (
    FINAL,
    Step,
    command,
    command_line,
    is_whole,
    next_step,
    set_damaged_aside,
)
from nnunetv2_textguided.benchmark.hardware import GpuMemory, describe_hardware
from nnunetv2_textguided.benchmark.lock import NAME, holder, try_lock
from nnunetv2_textguided.benchmark.progress import Progress, ProgressReader
from nnunetv2_textguided.benchmark.record import Recorder, read_record
from nnunetv2_textguided.benchmark.workflow import Training, read_training
from nnunetv2_textguided.files import visible
from nnunetv2_textguided.nnunet.folders import RESULTS, required_path
from nnunetv2_textguided.processes.command import find_command, tail
from nnunetv2_textguided.processes.supervised import supervised

OUTPUT = "benchmark_output.txt"
"""Everything that nnU-Net's commands print, in the fold's folder."""
EXIT_REPORT = ".benchmark_exit.json"
POLL_SECONDS = 0.5
LOST_HELPERS = "background workers are no longer alive"
"""What nnU-Net says when the system killed one of its own processes, mostly for want of memory."""


class Stopped(Exception):
    """This job was told to end, or who started it is gone."""


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit status (negative: the signal), why in one line, whether another try may go better."""

    status: int
    reason: str = ""
    retry: bool = False


def main(path: str, what: str, key: str, attempt: str) -> int:
    """Do what is missing.

    Returns:
        0: the training's final checkpoint (`train`) or the whole validation (`validate`) is there.
    """
    _end_on_signals()
    training = read_training(Path(path), key)
    folder = training.cell.folder(required_path(RESULTS), training.dataset)
    parent = os.getppid()
    if next_step(folder, training.cases) is Step.NOTHING:  # a done fold is not even locked
        return 0

    def check() -> None:
        if os.getppid() != parent:
            raise Stopped

    try:
        lock = _wait_for_lock(folder / NAME, check)
        return _work(training, folder, what == "train", int(attempt), lock, check)
    except Stopped:
        return 130


def _end_on_signals() -> None:
    def stop(*_: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        raise Stopped

    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell's script had SIGINT ignored
        signal.signal(number, stop)


def _wait_for_lock(path: Path, check: Callable[[], None]) -> int:
    """The descriptor of the fold's lock, as soon as it is free; -1 where the file system has no locks."""
    said = False
    while True:
        try:
            lock = try_lock(path)
        except OSError as error:
            print(f"WARNING: {path} cannot be locked ({error}): start no second run of this training", flush=True)
            return -1
        if lock is not None:
            return lock
        if not said:
            print(f"{path.parent} is in other hands: waiting for {holder(path)}", flush=True)
            said = True
        check()
        time.sleep(POLL_SECONDS)


def _work(
    training: Training, folder: Path, train_only: bool, attempt: int, lock: int, check: Callable[[], None]
) -> int:
    set_damaged_aside(folder)
    step = next_step(folder, training.cases)
    if step is Step.NOTHING or (train_only and step is Step.VALIDATE):
        return 0
    last = ((read_record(folder) or {}).get("attempts") or [{}])[-1]
    if attempt > 1 and last.get("retry") is False:  # it would only come again
        print(last["reason"])
        return 1
    ended = _Command(training, folder, step, lock, check).run()
    if ended.status == 0 or (train_only and is_whole(folder / FINAL)):
        return 0
    print(f"{ended.reason}\n{tail(folder / OUTPUT)}")
    return 1


class _Command:
    """One command of nnU-Net's, watched and recorded."""

    def __init__(self, training: Training, folder: Path, step: Step, lock: int, check: Callable[[], None]) -> None:
        self.training, self.folder, self.lock, self.check = training, folder, lock, check
        self.reader = ProgressReader()
        self.words = command(training.cell, training.dataset, step, training.device)
        self.recorder = Recorder(folder, training.cell, training.dataset, training.facts, training.cases)
        self.gpu, self._gpu_lock = _take_gpu(training, check)
        self.memory = GpuMemory(self.gpu)

    def run(self) -> Ended:
        """Run it to its end."""
        before = _state(self.folder, self.reader.read(self.folder))
        self.recorder.begin(command_line(self.words), describe_hardware(self.gpu), self._progress())
        outcome, measured = "interrupted", dict[str, Any]()
        ended = Ended(-int(signal.SIGKILL))
        try:
            measured = self._watch()
            ended = self._judge(int(measured.get("status", ended.status)), before)
            outcome = "finished" if ended.status == 0 else _ended(ended.status)
        finally:
            peaks = {"peak_resident_bytes": measured.get("peak_resident_bytes")}
            peaks["peak_gpu_bytes"] = self.memory.peak_bytes
            why = {"reason": ended.reason, "retry": ended.retry} if ended.reason else {}
            self.recorder.end(outcome, self._progress(), {**peaks, **why})
        return Ended(1, ended.reason, ended.retry) if ended.reason else ended

    def _progress(self) -> Progress:
        return self.reader.read(self.folder)

    def _watch(self) -> dict[str, Any]:
        """The keeper's report, empty where that was killed."""
        words = [*(self.training.program or (find_command(self.words[0]),)), *self.words[1:]]
        keep = [self.lock] if self.lock >= 0 else []
        with (self.folder / OUTPUT).open("ab") as output:
            output.write(f"\n$ {command_line(self.words)}\n".encode())
            output.flush()
            with supervised(words, self.folder / EXIT_REPORT, output, self._environment(), keep) as running:
                while running.runs():
                    self.check()
                    self.memory.sample()
                    time.sleep(POLL_SECONDS)
                return running.measured()

    def _environment(self) -> dict[str, str]:
        # Threads that spin while they wait make training five times slower as soon as anything else runs.
        environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
        if self.training.gpus and self.gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = self.gpu
        return environment

    def _judge(self, status: int, before: tuple[Any, ...]) -> Ended:
        after = next_step(self.folder, self.training.cases)
        if status == 0 and after is Step.NOTHING:
            return Ended(0)
        progressed = _state(self.folder, self._progress()) != before
        log = tail(self.folder / OUTPUT)
        return Ended(status, _reason(status, after, log), status < 0 or progressed or LOST_HELPERS in log)


def _take_gpu(training: Training, check: Callable[[], None]) -> tuple[str | None, int | None]:
    """The GPU to use and its lock: Snakemake counts GPUs, but does not say which one is free."""
    if training.device != "cuda":
        return None, None
    if not training.gpus:
        return os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0], None
    folder = Path(tempfile.gettempdir()) / f"nnunetv2_textguided_gpus_{os.getuid()}_{socket.gethostname()}"
    while True:
        for slot, gpu in enumerate(training.gpus):
            lock = try_lock(folder / f"{gpu}_{training.gpus[:slot].count(gpu)}")
            if lock is not None:
                return gpu, lock
        check()
        time.sleep(POLL_SECONDS)


def _state(folder: Path, progress: Progress) -> tuple[Any, ...]:
    """Something that differs when a training has come forward."""
    validation = folder / "validation"
    return progress.epochs, (folder / FINAL).is_file(), len(visible(validation, "*.nii.gz"))


def _ended(status: int) -> str:
    if status > 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"


def _reason(status: int, after: Step, log: str) -> str:
    if status == 0:
        missing = "a validation of all cases" if after is Step.VALIDATE else FINAL
        return f"nnU-Net ended without an error, but without {missing}"
    last = log.strip().splitlines()[-1].strip() if log.strip() else ""
    return f"{_ended(status)}: {last}" if status > 0 else _ended(status)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
