"""What a demo run leaves behind for its report: cases, scores, the training log, the text and the commands."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nnunetv2_textguided.demo.scores import DemoScore, mean_dice
from nnunetv2_textguided.demo.shapes import Volume
from nnunetv2_textguided.errors import DataError

if TYPE_CHECKING:  # model.py imports torch and nnU-Net
    from nnunetv2_textguided.demo.model import TextEffect


@dataclass(frozen=True)
class CaseRecord:
    """One test case. All arrays (Z, Y, X)."""

    identifier: str
    images: dict[str, Volume]
    reference: NDArray[np.bool_]
    predicted: NDArray[np.bool_]
    effect: TextEffect
    trained: DemoScore
    untrained: DemoScore
    lesions: Sequence[dict[str, Any]]
    """zone, diameter (mm) and conspicuity of each lesion, as drawn."""

    @property
    def key_slice(self) -> int:
        """The slice to look at first: most of the lesion, else of what was marked, else the warmest."""
        for mask in (self.reference, self.predicted):
            if mask.any():
                return int(mask.sum(axis=(1, 2)).argmax())
        return int(self.effect.heatmap.sum(axis=(1, 2)).argmax())


@dataclass(frozen=True)
class Step:
    """One step of the run."""

    title: str
    seconds: float
    command: str | None = None
    """The command line, if it is one that a user could type."""


@dataclass(frozen=True)
class DemoRecord:
    """A whole run."""

    cases: Sequence[CaseRecord]
    log: TrainingLog
    block: dict[str, Any]
    """The complete `text_guidance` block of the trained model."""
    steps: Sequence[Step]
    seed: int

    def summary(self) -> dict[str, Any]:
        """The numbers of the run as JSON values."""
        return {
            "seed": self.seed,
            "epochs": self.log.epochs,
            "mean_dice": {
                "trained": mean_dice([case.trained for case in self.cases]),
                "untrained": mean_dice([case.untrained for case in self.cases]),
            },
            "cases": [
                {
                    "identifier": case.identifier,
                    "reference_voxels": case.trained.reference_voxels,
                    "predicted_voxels": case.trained.predicted_voxels,
                    "dice": case.trained.dice,
                    "dice_untrained": case.untrained.dice,
                }
                for case in self.cases
            ],
            "seconds": {step.title: round(step.seconds, 1) for step in self.steps},
        }


class TrainingLog:
    """The trainer's table: one row per epoch."""

    def __init__(self, phases: Sequence[str], columns: dict[str, list[float]]) -> None:
        self.phases, self.columns = list(phases), columns

    @classmethod
    def read(cls, path: Path) -> TrainingLog:
        """Read the CSV that the trainer writes.

        Raises:
            DataError: it is missing, empty, or not a table of numbers.
        """
        try:
            with path.open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
            phases = [row.pop("phase") for row in rows]
            columns = {name: [float(row[name] or math.nan) for row in rows] for name in (rows[0] if rows else ())}
        except (OSError, KeyError, TypeError, ValueError) as e:
            raise DataError(f"The training log cannot be read: {e}.", where=path) from e
        if not rows:
            raise DataError("The training log has no epochs.", where=path)
        return cls(phases, columns)

    @property
    def epochs(self) -> int:
        """Number of finished epochs."""
        return len(self.phases)

    def spans(self) -> list[tuple[str, int, int]]:
        """(phase, first epoch, last epoch) of each uninterrupted phase."""
        found: list[tuple[str, int, int]] = []
        for epoch, phase in enumerate(self.phases):
            if found and found[-1][0] == phase:
                found[-1] = (phase, found[-1][1], epoch)
            else:
                found.append((phase, epoch, epoch))
        return found
