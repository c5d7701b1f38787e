"""A channel that is missing (docs/evidence.md): the default, and the same trained with channel dropout."""

from __future__ import annotations

import math
from collections.abc import Iterator

from nnunetv2_textguided.evaluation.case_files import CaseFile
from nnunetv2_textguided.evaluation.difference import Difference

CHANNELS = {"anatomy_strong_feedback_no_refiner": "default", "channel_dropout": "dropout"}
"""Variants that predict without a channel, too; the predictions are called NAME_without_CHANNEL and NAME_with_all."""
SEEN = {"with_all": "all", "without_T2W": "without T2W", "without_ADC": "without ADC", "without_HBV": "without HBV"}
"""End of a model's name in thresholds.csv -> the channels that it saw."""


def block(cases: CaseFile) -> str:
    """The page's table: both models under each condition, and what a channel's absence changes in the same networks."""
    return "\n".join(_rows(cases))


def _rows(cases: CaseFile) -> Iterator[str]:
    names = tuple(reversed(CHANNELS.values()))
    columns = [f"{name}: Dice, AUROC, false mL" for name in names]
    yield f"| channels | {' | '.join(columns)} | {names[0]} minus {names[1]}: AUROC |"
    yield f"|---|{'---|' * (len(names) + 1)}"
    for end, seen in SEEN.items():
        cells = [_cell(cases, f"{name}_{end}") for name in names]
        apart = cases.difference(*(f"{name}_{end}" for name in names), "auroc")
        yield f"| {seen} | {' | '.join(cells)} | {_text(apart)} |"


def _cell(cases: CaseFile, model: str) -> str:
    (dice, _), (auroc, _) = (cases.values(model, metric) for metric in ("dice", "auroc"))
    false = cases.at_thresholds(model, model).model.false_ml
    return f"{dice:.3f}, {auroc:.3f}, {false:.2f}"


def _text(found: Difference) -> str:
    value = f"{found.value:+.3f}"
    return value if math.isnan(found.ends.low) else f"{value} [{found.ends.low:+.3f}, {found.ends.high:+.3f}]"
