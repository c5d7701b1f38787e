"""The rows of the PI-CAI table: the method and its controls, each a trainer on the same plans, or plans of its own.

Plans of a row are the method's with one thing changed, so that patch, batch, preprocessed data and iterations agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnunetv2_textguided.errors import DataError, PlanningError
from nnunetv2_textguided.files import read_json, write_json
from nnunetv2_textguided.nnunet.plans import read_plans
from nnunetv2_textguided.nnunet.variant import Variant
from nnunetv2_textguided.planning.encoders import COST_LIMIT, affordable_choices
from nnunetv2_textguided.planning.estimate import Estimator, dataset_labels
from nnunetv2_textguided.planning.topology import stock_architecture, text_guided_plan
from nnunetv2_textguided.settings import BLOCK
from nnunetv2_textguided.settings.presets import merge, resolve

METHOD, CONFIGURATION, PLANS = "nnUNetTrainerAlignRefine", "3d_fullres", "nnUNetAlignRefinePlans"
FEATURE_STEP = 4
"""Widened stages have a multiple of this many features."""


@dataclass(frozen=True)
class Row:
    """A model of the table.

    Attributes:
        name: what the command and the names of its plans call it.
        title: what it is.
        trainer: what the method's trainer is called for it, behind `nnUNetTrainerAlignRefine`.
        block: what it changes of the plans' `text_guidance` block.
        encoders: "narrow" or "shared": encoders at the stock network's price, as `plan --constant-cost` chooses them.
        widened: the stock network with as many features as make its step cost the method's operations.
    """

    name: str
    title: str
    trainer: str = ""
    block: Mapping[str, Any] = field(default_factory=dict)
    encoders: str | None = None
    widened: bool = False

    @property
    def has_plans(self) -> bool:
        """Whether it is trained on plans of its own."""
        return bool(self.block or self.encoders or self.widened)

    def plans(self, base: str) -> str:
        """The name of its plans, by that of the method's."""
        return f"{base}_{self.name}" if self.has_plans else base

    def model(self, base: str) -> Variant:
        """Its trainer, plans and configuration."""
        return Variant(f"{METHOD}{self.trainer}", self.plans(base), CONFIGURATION)


ROWS = (
    Row("default", "the method"),
    Row("no_text", "the same encoders, no text", "_NoText"),
    Row("random_text", "random vectors instead of embeddings", "_RandomText"),
    Row("shuffled_text", "every prompt has another prompt's embedding", "_ShuffledText"),
    Row("learned_text", "free vectors instead of embeddings", "_LearnedText"),
    Row("stock", "stock nnU-Net's network, equal iterations", "_StockNetwork"),
    Row("stock_wide", "stock nnU-Net's network, equal iterations and operations", "_StockNetwork", widened=True),
    Row("narrow", "narrow encoders at the stock network's price", encoders="narrow"),
    Row("shared", "one shared encoder trunk at the stock network's price", encoders="shared"),
    Row("channel_dropout", "channels left out at random", block={"training": {"channel_dropout": 0.25}}),
)


def choose_rows(names: Sequence[str]) -> tuple[Row, ...]:
    """The rows of these names, in the table's order; all of them for no name.

    Raises:
        DataError: there is no row of a name.
    """
    known = {row.name: row for row in ROWS}
    for name in names:
        if name not in known:
            raise DataError(f"There is no row {name!r}.", where="--rows", remedy=f"Choose of {', '.join(known)}.")
    return tuple(row for row in ROWS if not names or row.name in names)


def write_row_plans(rows: Sequence[Row], folder: Path, base: str) -> None:
    """Write the plans of rows that have their own, and do not have them yet.

    Args:
        rows: which.
        folder: the data set's folder in nnUNet_preprocessed.
        base: name of the method's plans.

    Raises:
        DataError: a row's plans are there and are not what would be written.
        PlanningError: the method's plans are missing or damaged, or encoders cannot be made cheap enough.
    """
    for path, made in _row_plans(rows, folder, base):
        if not path.is_file():
            write_json(path, made)
        elif read_json(path, error=DataError) != made:
            raise DataError(
                f"These plans are not made of {base} as it is now.",
                where=path,
                remedy="The plans were changed after the row's were written: plan under another name (--plans), or "
                "delete this file and what was trained with it.",
            )


def rows_planned(rows: Sequence[Row], folder: Path, base: str) -> bool:
    """Whether every row has its plans."""
    return all((folder / f"{row.plans(base)}.json").is_file() for row in rows)


def _row_plans(rows: Sequence[Row], folder: Path, base: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    plans, description = read_plans(folder / f"{base}.json"), read_json(folder / "dataset.json", error=DataError)
    estimator = Estimator(len(description["channel_names"]), dataset_labels(description))
    for row in filter(lambda row: row.has_plans, rows):
        plan = _changed(row, plans["configurations"][CONFIGURATION], estimator)
        configurations = {**plans["configurations"], CONFIGURATION: plan}
        name = row.plans(base)
        yield folder / f"{name}.json", {**plans, "plans_name": name, "configurations": configurations}


def _changed(row: Row, plan: Mapping[str, Any], estimator: Estimator) -> dict[str, Any]:
    """The method's plan with what the row changes."""
    block = merge(plan.get(BLOCK) or {}, row.block)
    architecture, patch, batch = stock_architecture(plan["architecture"]), plan["patch_size"], plan["batch_size"]

    def flops(network: Mapping[str, Any], block: Mapping[str, Any] | None) -> float:
        settings = None if block is None else resolve(block)
        return estimator.cost(network, settings, patch, batch).flops_per_patch

    if row.encoders is not None:
        most = COST_LIMIT * flops(architecture, None)
        stages = len(architecture["arch_kwargs"]["features_per_stage"])
        choices = affordable_choices(
            row.encoders, stages, lambda chosen: flops(architecture, merge(block, {"encoders": chosen})) <= most
        )
        chosen = next(choices, None)
        if chosen is None:
            raise PlanningError(f"No encoders are within {COST_LIMIT} times the stock network's cost.", where=row.name)
        block = merge(block, {"encoders": chosen})
    if row.widened:
        wanted = flops(architecture, block)
        share = (wanted / flops(architecture, None)) ** 0.5
        wider = [_widened(architecture, share * step / 100) for step in range(94, 107, 2)]
        architecture = min(wider, key=lambda network: abs(flops(network, None) - wanted))
    return text_guided_plan({**plan, "architecture": architecture}, block)


def _widened(architecture: Mapping[str, Any], factor: float) -> dict[str, Any]:
    kwargs = architecture["arch_kwargs"]
    features = [max(1, round(n * factor / FEATURE_STEP)) * FEATURE_STEP for n in kwargs["features_per_stage"]]
    return {**architecture, "arch_kwargs": {**kwargs, "features_per_stage": features}}
