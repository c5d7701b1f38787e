"""How each training went, epoch by epoch: from nnU-Net's training logs, which every trainer writes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnunetv2_textguided.nnunet.training_log import mean_dice, moving_dices, training_logs

_EPOCH = re.compile(r": Epoch (\d+) *$")
_VALUE = re.compile(r": (train_loss|val_loss) (\S+)")
_DICE = re.compile(r": Pseudo dice \[(.*)\]")
NAMES = ("train_loss", "val_loss", "ema_dice")


@dataclass(frozen=True)
class Curves:
    """One variant's training curves.

    Attributes:
        epochs: (E,) epochs that every fold has finished.
        values: train_loss, val_loss, ema_dice -> (folds, E).
    """

    epochs: np.ndarray
    values: dict[str, np.ndarray]


def read_curves(fold_folders: Sequence[Path]) -> Curves | None:
    """Read the logs of one variant's folds; None where no fold has any.

    A continued training writes another log; where both have an epoch, the later one counts.
    """
    folds = [table for folder in fold_folders if (table := _read_fold(folder))]
    if not folds:
        return None
    number = min(len(table) for table in folds)
    values = {
        name: np.array([[table[e].get(name, np.nan) for e in range(number)] for table in folds]) for name in NAMES
    }
    return Curves(np.arange(1, number + 1), values)


def _read_fold(folder: Path) -> dict[int, dict[str, float]]:
    table: dict[int, dict[str, float]] = {}
    for path in training_logs(folder):
        _read_log(path, table)
    complete = {e: row for e, row in table.items() if "dice" in row}
    if sorted(complete) != list(range(len(complete))):
        return {}  # a log is missing
    for epoch, average in enumerate(moving_dices(complete[e]["dice"] for e in range(len(complete)))):
        complete[epoch]["ema_dice"] = average
    return complete


def _read_log(path: Path, table: dict[int, dict[str, float]]) -> None:
    row: dict[str, float] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if match := _EPOCH.search(line):
            row = table[int(match[1])] = {}
        elif match := _VALUE.search(line):
            row[match[1]] = _number(match[2])
        elif match := _DICE.search(line):
            row["dice"] = mean_dice(match[1])


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
