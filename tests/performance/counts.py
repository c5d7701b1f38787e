"""Counted costs of the subjects: bytes that autograd saves and floating-point operations, on tensors without data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nnunetv2_textguided.planning.memory import StepCost, StepCounter
from tests.performance.released import ReleasedLoss, ReleasedNetwork
from tests.performance.subjects import LESION, PATCH, WIDTHS, guided, picai_plans, stock, targets

COUNTER = StepCounter(3, LESION, device="cpu")


def stock_cost(patch: Sequence[int] = PATCH) -> StepCost:
    """nnU-Net's own network and loss."""
    return COUNTER.count(stock, {"network": "stock"}, patch, 1, None)


def guided_cost(*overrides: Mapping[str, Any], patch: Sequence[int] = PATCH) -> StepCost:
    """Ours, with all losses."""
    settings = guided(*overrides, shrink=8)[1]
    return COUNTER.count(lambda: guided(*overrides)[0], {"network": overrides}, patch, 1, settings)


def released(refine: bool, shrink: int = 1) -> ReleasedNetwork:
    """The reconstruction of the released network, in its first or second stage."""
    strides = picai_plans()["arch_kwargs"]["strides"]
    return ReleasedNetwork([width // shrink for width in WIDTHS], strides, 3, refine)


def released_loss(refine: bool) -> ReleasedLoss:
    """The losses of its first or second stage."""
    return ReleasedLoss(len(WIDTHS) - 1, auxiliary=not refine)


def released_cost(refine: bool) -> StepCost:
    """The reconstruction of the released network and losses."""
    loss = released_loss(refine)
    return COUNTER.count(
        lambda: released(refine),
        {"network": "released", "refine": refine},
        PATCH,
        1,
        None,
        lambda network, data: loss(network, data, targets(PATCH, batch=1)),
    )
