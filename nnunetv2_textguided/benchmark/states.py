"""Where every training of a study stands, read from the files of its fold, whoever trains it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from nnunetv2_textguided.benchmark.cells import Step, next_step, validation_dice
from nnunetv2_textguided.benchmark.facts import ModelFacts
from nnunetv2_textguided.benchmark.job import OUTPUT
from nnunetv2_textguided.benchmark.progress import ProgressReader
from nnunetv2_textguided.benchmark.record import Recorder, read_record
from nnunetv2_textguided.benchmark.study import Cell, Study
from nnunetv2_textguided.nnunet.variant import Variant
from nnunetv2_textguided.processes.command import tail


class State(Enum):
    """Where a training stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass
class Status:
    """One training's state, as the table shows it.

    Attributes:
        state: where it stands.
        text: the table's words.
        tries: commands that failed in this run.
        reason: of the last failure, in one line.
    """

    state: State = State.WAITING
    text: str = "waiting"
    tries: int = 0
    reason: str = ""


class Watch:
    """Looks at the folders of a study.

    Args:
        study: all trainings.
        results: the folder nnUNet_results.
        facts: of every variant.
        cases: validation cases of every fold.
        retries: how often a training is tried again.
    """

    def __init__(
        self,
        study: Study,
        results: Path,
        facts: Mapping[Variant, ModelFacts],
        cases: Mapping[int, tuple[str, ...]],
        retries: int,
    ) -> None:
        self.study, self.results, self.facts, self.cases, self.retries = study, results, facts, cases, retries
        self._reader = ProgressReader()
        self._earlier = {cell: len(self._attempts(cell)) for cell in study.cells()}

    def folder(self, cell: Cell) -> Path:
        """The fold's folder."""
        return cell.folder(self.results, self.study.dataset)

    def look(self, *, over: bool = False) -> dict[Cell, Status]:
        """The state of every training.

        Args:
            over: nothing runs any more, so that what is not done has failed.
        """
        return {cell: self._status(cell, over) for cell in self.study.cells()}

    def adopt(self) -> None:
        """Complete the records of trainings that nnU-Net's command alone did, or whose job was lost at the end."""
        for cell in self.study.cells():
            folder, record = self.folder(cell), read_record(self.folder(cell))
            open_end = record is None or any(attempt["ended"] is None for attempt in record["attempts"])
            if open_end and self._step(cell) is Step.NOTHING:
                facts, cases = self.facts[cell.variant], self.cases[cell.fold]
                Recorder(folder, cell, self.study.dataset, facts, cases).adopt(self._reader.read(folder))

    def failures(self) -> list[str]:
        """A paragraph for every training that is not done when all is over: why, and the end of its output."""
        texts = []
        for cell, status in self.look(over=True).items():
            if status.state is State.FAILED:
                output = self.folder(cell) / OUTPUT
                texts.append(
                    f"FAILED {cell.model.name}, fold {cell.fold}, after {status.tries} tries: {status.reason}\n"
                    f"  whole output: {output}\n{tail(output) if output.is_file() else ''}"
                )
        return texts

    def _step(self, cell: Cell) -> Step:
        return next_step(self.folder(cell), self.cases[cell.fold])

    def _attempts(self, cell: Cell) -> list[dict]:
        return (read_record(self.folder(cell)) or {}).get("attempts", [])

    def _status(self, cell: Cell, over: bool) -> Status:
        attempts = self._attempts(cell)
        new = attempts[self._earlier[cell] :]
        failed = [a for a in new if (a["ended"] is not None and a.get("outcome") != "finished") or a.get("reason")]
        reason = failed[-1].get("reason") or f"its job was lost ({failed[-1]['outcome']})" if failed else ""
        tries = len(failed)
        if self._step(cell) is Step.NOTHING and not (new and new[-1]["ended"] is None):
            dice = validation_dice(self.folder(cell))
            return Status(State.DONE, "done" if dice is None else f"done, Dice {dice:.3f}", tries, reason)
        running = bool(attempts) and attempts[-1]["ended"] is None
        if over:
            lost = "its job was lost" if running and new else "it was not begun"
            return Status(State.FAILED, f"failed: {reason or lost}", tries + (running and bool(new)), reason or lost)
        if running and new:
            again = f", retry {tries} of {self.retries}: {reason}" if tries else ""
            return Status(State.RUNNING, self._progress(cell) or f"starting{again}", tries, reason)
        if failed and (tries > self.retries or not failed[-1].get("retry", True)):
            return Status(State.FAILED, f"failed: {reason}", tries, reason)
        return Status(State.WAITING, "waiting", tries, reason)

    def _progress(self, cell: Cell) -> str:
        """How far a training is; nothing where it has just begun."""
        progress, epochs = self._reader.read(self.folder(cell)), self.facts[cell.variant].epochs
        dice = "" if progress.ema_dice is None else f", EMA Dice {progress.ema_dice:.3f}"
        if progress.epochs >= epochs:
            cases = len(self.cases[cell.fold])
            return f"validating {min(progress.predicted, cases)}/{cases}{dice}"
        return f"epoch {progress.epochs}/{epochs}{dice}" if progress.epochs else ""
