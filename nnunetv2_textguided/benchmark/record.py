"""A fold's benchmark_record.json: what was run, with what, on what, and what it cost."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from nnunetv2_textguided.benchmark.facts import ModelFacts
from nnunetv2_textguided.benchmark.progress import Progress
from nnunetv2_textguided.benchmark.study import Cell
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.files import PACKAGE, read_json, write_json
from nnunetv2_textguided.software import software_versions

NAME = "benchmark_record.json"
FORMAT = 1
SEED = (
    "of the process that trains, which decides initial weights; null where a trainer logs none, as stock ones. "
    "nnU-Net's background processes seed themselves: patches and augmentation differ from run to run, whatever the seed"
)


def read_record(folder: Path) -> dict[str, Any] | None:
    """A fold's record; None where there is none.

    Raises:
        DataError: it is damaged.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    record: dict[str, Any] = read_json(path, error=DataError)
    return record


class Recorder:
    """Keeps a fold's record while it is worked on. What earlier runs recorded stays.

    Args:
        folder: the fold's folder.
        cell: the training.
        dataset: full name of the data set.
        facts: what is known of the model beforehand.
        cases: the fold's validation cases.
    """

    def __init__(self, folder: Path, cell: Cell, dataset: str, facts: ModelFacts, cases: Sequence[str]) -> None:
        self.path = folder / NAME
        earlier = read_record(folder) or {}
        self.record: dict[str, Any] = {
            "format": FORMAT,
            "dataset": dataset,
            "trainer": cell.variant.trainer,
            "plans": cell.model.plans,
            "configuration": cell.variant.configuration,
            "fold": cell.fold,
            "repeat": cell.repeat,
            "validation_cases": len(cases),
            "seed_note": SEED,
            **facts.as_json(),
            "attempts": earlier.get("attempts", []),
        }

    def begin(self, command: str, hardware: Mapping[str, Any], progress: Progress) -> None:
        """Note that a command starts."""
        self._close_lost(progress)
        self.record["attempts"].append(
            {
                "started": _text(datetime.now()),
                "ended": None,
                "outcome": "running",
                "command": command,
                "from_epoch": progress.epochs,
                "git_revision": git_revision(),
                "software": software_versions(),
                "hardware": dict(hardware),
            }
        )
        self._write(progress)

    def end(self, outcome: str, progress: Progress, measured: Mapping[str, Any]) -> None:
        """Note how the command that was begun last ended."""
        attempt = self.record["attempts"][-1]
        attempt |= {"ended": _text(datetime.now()), "outcome": outcome, "to_epoch": progress.epochs, **measured}
        self._write(progress)

    def adopt(self, progress: Progress) -> None:
        """Record a training that is done from what its logs tell: one by nnU-Net's command alone has no attempts."""
        self._close_lost(progress)
        self._write(progress)

    def _close_lost(self, progress: Progress) -> None:
        """End attempts whose worker was killed: the log's last line is the last that is known."""
        for attempt in self.record["attempts"]:
            if attempt["ended"] is None:
                last = max(progress.last or datetime.min, datetime.fromisoformat(attempt["started"]))
                attempt |= {"ended": _text(last), "outcome": "worker lost", "to_epoch": progress.epochs}

    def _write(self, progress: Progress) -> None:
        attempts = self.record["attempts"]
        iterations, epoch = self.record["iterations_per_epoch"], progress.seconds_per_epoch
        write_json(
            self.path,
            {
                **self.record,
                "seed": progress.seed,
                "epochs_done": progress.epochs,
                "wall_seconds": round(sum(map(_seconds, attempts)), 1),
                "seconds_per_epoch": epoch,
                # nnU-Net times epochs only; theirs include the validation iterations.
                "seconds_per_iteration": None if epoch is None or not iterations else round(epoch / iterations, 5),
                "prediction_seconds_per_case": progress.seconds_per_case,
                "peak_resident_bytes": _largest(attempts, "peak_resident_bytes"),
                "peak_gpu_bytes": _largest(attempts, "peak_gpu_bytes"),
            },
        )


def git_revision() -> str | None:
    """The revision of this package's checkout, with "-dirty" where files differ from it; None: no checkout."""
    if not (PACKAGE.parent / ".git").exists():
        return None
    command = ["git", "-C", str(PACKAGE.parent), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None  # no git here, or a checkout that belongs to somebody else


def _text(time: datetime) -> str:
    return time.isoformat(timespec="seconds")


def _seconds(attempt: Mapping[str, Any]) -> float:
    if attempt["ended"] is None:
        return 0.0
    return (datetime.fromisoformat(attempt["ended"]) - datetime.fromisoformat(attempt["started"])).total_seconds()


def _largest(attempts: Sequence[Mapping[str, Any]], key: str) -> int | None:
    return max((attempt[key] for attempt in attempts if attempt.get(key) is not None), default=None)
