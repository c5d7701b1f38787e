"""The table of trainings while they run: live in a terminal, else a line for whatever changes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import IO

from rich.console import Console
from rich.live import Live
from rich.table import Table

from nnunetv2_textguided.benchmark.states import State, Status
from nnunetv2_textguided.benchmark.study import Cell, Study, Variant

STYLES = {State.DONE: "green", State.FAILED: "bold red", State.RUNNING: "cyan"}
QUIET_SECONDS = 60.0
"""Without a terminal, a training's epochs are told at most this often; its state always."""


def table(study: Study, statuses: Mapping[Cell, Status]) -> Table:
    """Trainers in rows, folds in columns."""
    counts = {state: sum(status.state is state for status in statuses.values()) for state in State}
    caption = ", ".join(f"{count} {state.value}" for state, count in counts.items() if count)
    shown = Table(title=f"{study.dataset} {study.configuration}", caption=caption)
    shown.add_column("trainer", no_wrap=True)
    for fold in study.folds:
        shown.add_column(f"fold {fold}")
    for variant, repeat in itertools.product(study.variants, range(1, study.repeats + 1)):
        cells = [statuses[Cell(variant, fold, repeat)] for fold in study.folds]
        texts = (f"[{STYLES.get(s.state, 'dim')}]{_escape(s.text)}[/]" for s in cells)
        shown.add_row(row_name(variant, study, repeat), *texts)
    return shown


def row_name(variant: Variant, study: Study, repeat: int = 1) -> str:
    """The trainer; with its plans and its repeat where there are several."""
    name = variant.trainer if len(study.plans) == 1 else f"{variant.trainer} {variant.plans}"
    return name if study.repeats == 1 else f"{name} repeat {repeat}"


class LiveTable:
    """For terminals; a context manager."""

    def __init__(self, study: Study, console: Console) -> None:
        self._study = study
        self._live = Live(console=console, auto_refresh=False)

    def __enter__(self) -> LiveTable:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def update(self, statuses: Mapping[Cell, Status]) -> None:
        """Draw the table anew."""
        self._live.update(table(self._study, statuses), refresh=True)


class Lines:
    """For files and pipes: one line per change; a context manager like the other."""

    def __init__(self, study: Study, stream: IO[str]) -> None:
        self._study, self._stream = study, stream
        self._told: dict[Cell, tuple[State, int, str, float]] = {}

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def update(self, statuses: Mapping[Cell, Status]) -> None:
        """Tell what is new."""
        for cell, status in statuses.items():
            state, tries, text, when = self._told.get(cell, (State.WAITING, 0, "waiting", 0.0))
            recent = (state, tries) == (status.state, status.tries) and time.monotonic() - when < QUIET_SECONDS
            if text == status.text or (recent and status.state is State.RUNNING):
                continue
            self._told[cell] = status.state, status.tries, status.text, time.monotonic()
            now = datetime.now().strftime("%H:%M:%S")
            name = row_name(cell.variant, self._study, cell.repeat)
            print(f"{now} {name} fold {cell.fold}: {status.text}", file=self._stream, flush=True)


def make_display(study: Study, stream: IO[str]) -> LiveTable | Lines:
    """What suits the stream."""
    console = Console(file=stream)
    return LiveTable(study, console) if console.is_terminal else Lines(study, stream)


def print_table(study: Study, statuses: Mapping[Cell, Status], stream: IO[str]) -> None:
    """The table once, at the end of a run without a terminal."""
    Console(file=stream, width=_width(study, statuses)).print(table(study, statuses))


def _width(study: Study, statuses: Mapping[Cell, Status]) -> int:
    names: Sequence[int] = [len(row_name(variant, study, study.repeats)) for variant in study.variants]
    return max(names) + (min(60, max(len(s.text) for s in statuses.values())) + 3) * len(study.folds) + 5


def _escape(text: str) -> str:
    return text.replace("[", r"\[")
