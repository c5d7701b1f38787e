"""What is left to do in a fold's folder, read from the files there, and nnU-Net's command that does it."""

from __future__ import annotations

import json
import math
import shlex
import zipfile
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from nnunetv2_textguided.benchmark.study import Cell
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.files import read_json

NETWORKS = "networks.json"
"""Beside a checkpoint that is another model's: {"networks": that model's folder name}."""
FINAL, LATEST, BEST = "checkpoint_final.pth", "checkpoint_latest.pth", "checkpoint_best.pth"
CHECKPOINTS = (FINAL, LATEST, BEST)
TRAIN_COMMAND = "nnUNetv2_train"


class Step(Enum):
    """The next command of a training; its value is the flag of nnU-Net's command."""

    TRAIN = ""
    CONTINUE = "--c"
    VALIDATE = "--val"
    NOTHING = "done"


GOES_ON = (Step.CONTINUE, Step.VALIDATE)
"""Steps for which nnU-Net reads a checkpoint."""


def next_step(folder: Path, cases: Sequence[str]) -> Step:
    """What a fold needs next.

    nnU-Net writes its files in place, so that a kill can leave half of one: only those that are whole count.

    Args:
        folder: the fold's folder; it may be missing.
        cases: the fold's validation cases.
    """
    if is_whole(folder / FINAL):
        return Step.NOTHING if is_validated(folder, cases) else Step.VALIDATE
    if any(is_whole(folder / name) for name in (LATEST, BEST)):
        return Step.CONTINUE
    return Step.TRAIN


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end: a ZIP's table of contents is the last thing in it."""
    return checkpoint.is_file() and zipfile.is_zipfile(checkpoint)


def is_validated(folder: Path, cases: Sequence[str]) -> bool:
    """Whether nnU-Net's validation finished: a whole summary, with every case of the fold."""
    summary = _summary(folder)
    return "foreground_mean" in summary and len(summary.get("metric_per_case", ())) >= len(cases)


def validation_dice(folder: Path) -> float | None:
    """Mean foreground Dice of a fold's validation; None: there is none, or it is not defined."""
    dice = _summary(folder).get("foreground_mean", {}).get("Dice")
    return None if dice is None or math.isnan(dice) else float(dice)


def _summary(folder: Path) -> dict[str, Any]:
    """nnU-Net's summary; empty where it is missing or only half written."""
    try:
        summary = json.loads((folder / "validation" / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return summary if isinstance(summary, dict) else {}


def networks_of(folder: Path) -> str:
    """Name of the model whose trained network a fold's folder holds: its own, unless NETWORKS says otherwise."""
    path = folder / NETWORKS
    return str(read_json(path, error=DataError)["networks"]) if path.is_file() else folder.parent.name


def set_damaged_aside(folder: Path) -> list[Path]:
    """Rename checkpoints that are not whole, which `--c` would stumble over instead of taking the next best one.

    Returns:
        Their new paths.
    """
    moved = []
    for name in CHECKPOINTS:
        path = folder / name
        if path.is_file() and not is_whole(path):
            moved.append(path.rename(path.with_name(f"{name}.damaged")))
    return moved


def set_summary_aside(folder: Path, cases: Sequence[str]) -> None:
    """Rename a validation's summary that is not whole: to a workflow, a file that exists is done."""
    summary = folder / "validation" / "summary.json"
    if summary.is_file() and not is_validated(folder, cases):
        summary.rename(summary.with_name("summary.json.damaged"))


def command(cell: Cell, dataset: str, step: Step, device: str) -> list[str]:
    """nnU-Net's command for a step, as a user types it."""
    variant = cell.model
    words = [TRAIN_COMMAND, dataset, variant.configuration, str(cell.fold), "-tr", variant.trainer]
    words += ["-p", variant.plans, "-device", device, "--npz"]
    return words if step in (Step.TRAIN, Step.NOTHING) else [*words, step.value]


def command_line(words: Sequence[str]) -> str:
    """The command for a shell."""
    return shlex.join(words)
