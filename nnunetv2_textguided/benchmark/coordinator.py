"""Brings every training of a study to its end: submits what is missing, watches, tries again, gives up in time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from nnunetv2_textguided.benchmark.cells import Step, next_step, validation_dice
from nnunetv2_textguided.benchmark.claim import find_holder
from nnunetv2_textguided.benchmark.facts import ModelFacts
from nnunetv2_textguided.benchmark.pool import Pool, job_environment
from nnunetv2_textguided.benchmark.progress import ProgressReader
from nnunetv2_textguided.benchmark.record import Recorder, read_record
from nnunetv2_textguided.benchmark.study import Cell, Study, Variant
from nnunetv2_textguided.benchmark.worker import OUTPUT, Job, Outcome

POLL_SECONDS = 1.0
PROGRESS_SECONDS = 2.0


class State(Enum):
    """Where a training stands."""

    WAITING = "waiting"
    RUNNING = "running"
    ELSEWHERE = "elsewhere"
    DONE = "done"
    FAILED = "failed"


@dataclass
class Status:
    """One training's state, as the table shows it.

    Attributes:
        state: where it stands.
        text: the table's words.
        holder: who works on it elsewhere.
        tries: jobs that failed in this run.
        reason: of a failure, in one line.
        log: of a failure, the last lines.
        before: it was done before this run began.
    """

    state: State = State.WAITING
    text: str = "waiting"
    holder: str = ""
    tries: int = 0
    reason: str = ""
    log: str = ""
    before: bool = False


class Display(Protocol):
    """Shows a table of trainings while they run."""

    def update(self, statuses: Mapping[Cell, Status]) -> None:
        """Show this; called about every second."""


class Coordinator:
    """One `benchmark run`.

    Args:
        study: all trainings.
        results: the folder nnUNet_results.
        facts: of every variant.
        cases: validation cases of every fold.
        pool: where jobs go.
        retries: how often a training whose worker was lost is tried again.
        program: instead of nnU-Net's command; for tests.
    """

    def __init__(
        self,
        study: Study,
        results: Path,
        facts: Mapping[Variant, ModelFacts],
        cases: Mapping[int, tuple[str, ...]],
        pool: Pool,
        retries: int = 2,
        program: tuple[str, ...] = (),
    ) -> None:
        self.study, self.results, self.facts, self.cases = study, results, facts, cases
        self.pool, self.retries, self.program = pool, retries, program
        self.statuses = {cell: Status() for cell in study.cells()}
        self._slots: list[str | None] = list(pool.options.slots)
        self._jobs: dict[Cell, tuple[Any, str | None]] = {}
        self._reader = ProgressReader()
        self._looked = 0.0

    def run(self, display: Display) -> dict[Cell, Status]:
        """Run to the end: every training is done or has failed."""
        for cell, status in self.statuses.items():
            if self._step(cell) is Step.NOTHING:
                self._set(cell, State.DONE, self._done_text(cell))
                status.before = True
                self._adopt(cell)
        try:
            while any(status.state not in (State.DONE, State.FAILED) for status in self.statuses.values()):
                self._collect()
                self._look_elsewhere()
                self._submit()
                self._report_progress()
                display.update(self.statuses)
                time.sleep(POLL_SECONDS)
        except BaseException:  # interrupted: no training is left behind unwatched
            self.pool.cancel([handle for handle, _ in self._jobs.values()])
            raise
        display.update(self.statuses)
        return self.statuses

    def _adopt(self, cell: Cell) -> None:
        """Complete the record of a training that nnU-Net's command alone did, or whose worker was lost at the end."""
        folder = self._folder(cell)
        record = read_record(folder)
        if record is None or any(attempt["ended"] is None for attempt in record["attempts"]):
            facts, cases = self.facts[cell.variant], self.cases[cell.fold]
            Recorder(folder, cell, self.study.dataset, facts, cases).adopt(self._reader.read(folder))

    def _folder(self, cell: Cell) -> Path:
        return cell.folder(self.results, self.study.dataset)

    def _step(self, cell: Cell) -> Step:
        return next_step(self._folder(cell), self.cases[cell.fold])

    def _set(self, cell: Cell, state: State, text: str) -> None:
        self.statuses[cell].state, self.statuses[cell].text = state, text

    def _collect(self) -> None:
        for cell, (handle, slot) in list(self._jobs.items()):
            outcome = self.pool.poll(handle)
            if outcome is not None:
                del self._jobs[cell]
                self._slots.append(slot)
                self._settle(cell, outcome)

    def _settle(self, cell: Cell, outcome: Outcome) -> None:
        status = self.statuses[cell]
        if outcome.status == "done":
            self._set(cell, State.DONE, self._done_text(cell))
            self._adopt(cell)
        elif outcome.status == "busy":
            self._elsewhere(cell, outcome.reason)
        else:
            status.tries += 1
            status.reason, status.log = outcome.reason, outcome.log
            if outcome.retry and status.tries <= self.retries:
                self._set(cell, State.WAITING, "waiting")
            else:
                self._set(cell, State.FAILED, f"failed: {outcome.reason}")

    def _elsewhere(self, cell: Cell, holder: str) -> None:
        self.statuses[cell].holder = holder
        self._set(cell, State.ELSEWHERE, f"elsewhere: {holder}")

    def _look_elsewhere(self) -> None:
        """Trainings that another run, or a worker that outlived its own, has in hand."""
        for cell, status in self.statuses.items():
            if status.state not in (State.WAITING, State.ELSEWHERE) or cell in self._jobs:
                continue
            holder = find_holder(self._folder(cell))
            if holder is not None:
                if (status.state, status.holder) != (State.ELSEWHERE, str(holder)):
                    self._elsewhere(cell, str(holder))
            elif status.state is State.ELSEWHERE:
                done = self._step(cell) is Step.NOTHING
                self._set(cell, *((State.DONE, self._done_text(cell)) if done else (State.WAITING, "waiting")))

    def _submit(self) -> None:
        waiting = [cell for cell, status in self.statuses.items() if status.state is State.WAITING]
        chosen = [(cell, self._slots.pop(0)) for cell in waiting[: len(self._slots)]]
        if not chosen:
            return
        handles = self.pool.submit([self._job(cell, slot) for cell, slot in chosen])
        for (cell, slot), handle in zip(chosen, handles, strict=True):
            self._jobs[cell] = handle, slot
            status = self.statuses[cell]
            again = f", retry {status.tries} of {self.retries}: {status.reason}" if status.tries else ""
            self._set(cell, State.RUNNING, f"starting{again}")

    def _job(self, cell: Cell, slot: str | None) -> Job:
        return Job(
            cell,
            self.study.dataset,
            self.results,
            self.cases[cell.fold],
            self.pool.options.device,
            slot,
            job_environment(),
            self.facts[cell.variant],
            self.program,
        )

    def _report_progress(self) -> None:
        if time.monotonic() - self._looked < PROGRESS_SECONDS:
            return
        self._looked = time.monotonic()
        for cell, status in self.statuses.items():
            if status.state is State.ELSEWHERE:
                status.text = f"elsewhere: {status.holder}, {self._progress(cell) or 'starting'}"
            elif status.state is State.RUNNING:
                progress = "queued" if self.pool.waits(self._jobs[cell][0]) else self._progress(cell)
                status.text = progress or status.text

    def _progress(self, cell: Cell) -> str:
        """How far a training is; nothing where it has just begun."""
        progress, epochs = self._reader.read(self._folder(cell)), self.facts[cell.variant].epochs
        dice = "" if progress.ema_dice is None else f", EMA Dice {progress.ema_dice:.3f}"
        if progress.epochs >= epochs:
            cases = len(self.cases[cell.fold])
            return f"validating {min(progress.predicted, cases)}/{cases}{dice}"
        return f"epoch {progress.epochs}/{epochs}{dice}" if progress.epochs else ""

    def _done_text(self, cell: Cell) -> str:
        dice = validation_dice(self._folder(cell))
        return "done" if dice is None else f"done, Dice {dice:.3f}"

    def failures(self) -> list[str]:
        """A paragraph for every training that failed: why, and the end of its log."""
        return [
            f"FAILED {cell.variant.name}, fold {cell.fold}, after {status.tries} tries: {status.reason}\n"
            f"  whole output: {self._folder(cell) / OUTPUT}\n{status.log}"
            for cell, status in self.statuses.items()
            if status.state is State.FAILED
        ]
