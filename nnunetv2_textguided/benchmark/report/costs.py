"""What each variant cost, from the records that `benchmark run` keeps, and from nnU-Net's own logs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.evaluation.metrics import DASH
from nnunetv2_textguided.files import read_json

RECORD = "benchmark_record.json"


@dataclass(frozen=True)
class CostColumn:
    """One column of the cost table: where its number is in a record, and how it is shown."""

    key: str
    title: str
    scale: float = 1.0
    digits: int = 2


COLUMNS = (
    CostColumn("parameters", "parameters [M]", 1e-6, 2),
    CostColumn("flops_per_patch", "forward pass [GFLOP/patch]", 1e-9, 1),
    CostColumn("training_flops", "training [PFLOP]", 1e-15, 2),
    CostColumn("seconds_per_iteration", "s/iteration", 1.0, 3),
    CostColumn("seconds_per_epoch", "s/epoch", 1.0, 1),
    CostColumn("wall_seconds", "wall time [h/fold]", 1 / 3600, 2),
    CostColumn("peak_gpu_bytes", "peak GPU memory [GiB]", 2.0**-30, 2),
    CostColumn("peak_resident_bytes", "peak memory [GiB]", 2.0**-30, 2),
    CostColumn("prediction_seconds_per_case", "prediction [s/case]", 1.0, 2),
)


@dataclass(frozen=True)
class Costs:
    """One variant's costs, medians over folds.

    Attributes:
        values: key of COLUMNS -> value; NaN where it was not recorded.
        records: the folds' records, as they are.
        epochs, iterations: length of the training, as far as known.
    """

    values: Mapping[str, float]
    records: tuple[Mapping[str, Any], ...]
    epochs: int | None
    iterations: int | None


def read_costs(fold_folders: Sequence[Path]) -> Costs:
    """Read the records of one variant's folds.

    Raises:
        DataError: a record is damaged.
    """
    records = tuple(record for folder in fold_folders if (record := _record(folder)) is not None)
    notes = [_length(folder) for folder in fold_folders]
    values = {column.key: _median([record.get(column.key) for record in records]) for column in COLUMNS}
    return Costs(
        values=values,
        records=records,
        epochs=_same([record.get("epochs") for record in records] or [note[0] for note in notes]),
        iterations=_same([record.get("iterations_per_epoch") for record in records] or [note[1] for note in notes]),
    )


def last_attempts(costs: Costs) -> list[Mapping[str, Any]]:
    """The last attempt of each fold: command, versions, hardware, git revision."""
    return [record["attempts"][-1] for record in costs.records if record.get("attempts")]


def cost_text(column: CostColumn, value: float) -> str:
    """A cost for a table; a dash where it was not recorded."""
    return f"{value * column.scale:.{column.digits}f}" if math.isfinite(value) else DASH


def _record(folder: Path) -> Mapping[str, Any] | None:
    path = folder / RECORD
    if not path.is_file():
        return None
    record = read_json(path, error=DataError)
    return record if isinstance(record, dict) else None


def _length(folder: Path) -> tuple[int | None, int | None]:
    """Epochs, and iterations per epoch, as nnU-Net notes them when a training starts."""
    path = folder / "debug.json"
    if not path.is_file():
        return None, None
    notes = read_json(path, error=DataError)
    epochs, iterations = (str(notes.get(key, "")) for key in ("num_epochs", "num_iterations_per_epoch"))
    return int(epochs) if epochs.isdigit() else None, int(iterations) if iterations.isdigit() else None


def _median(values: list[Any]) -> float:
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    return statistics.median(numbers) if numbers else math.nan


def _same(values: list[Any]) -> int | None:
    distinct = set(values) - {None}
    return int(distinct.pop()) if len(distinct) == 1 else None
