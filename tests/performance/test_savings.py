"""What each saving saves: the network with it against the same network without it, in turns."""

from __future__ import annotations

from typing import Any

import pytest

from nnunetv2_textguided.network import unet
from tests.performance.counts import guided_cost, stock_cost
from tests.performance.pairs import compare, counted
from tests.performance.subjects import NO_TEXT, guided, training_step

QUARTER, SMALL = 4, (16, 64, 64)
CHECKPOINTING = {"encoders": {"checkpointing": "stages"}}


def test_joined_normalisation(benchmark: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    joined = training_step(*guided(NO_TEXT, shrink=QUARTER), SMALL)
    monkeypatch.setattr(unet, "join_activations", lambda network: None)
    apart = training_step(*guided(NO_TEXT, shrink=QUARTER), SMALL)
    name = "Training step, instance norm joined with its activation : two modules as in stock"
    assert not compare(benchmark, joined, apart, 11, goal=5, name=name, limit=1.02).missed


def test_checkpointing_s_price(benchmark: Any) -> None:
    again, kept = (training_step(*guided(choice, shrink=QUARTER), SMALL) for choice in (CHECKPOINTING, {}))
    name = "Training step, `encoders.checkpointing` stages : none"
    assert not compare(benchmark, again, kept, 3, goal=5, name=name, limit=1.5).missed


@pytest.mark.parametrize("checkpointing", ["none", "stages"])
def test_bytes_against_stock(benchmark: Any, checkpointing: str) -> None:
    def ratio() -> float:
        choice = {"encoders": {"checkpointing": checkpointing}}
        return guided_cost(choice).activations_per_patch / stock_cost().activations_per_patch

    name = f"Saved activations, full method at full width, checkpointing {checkpointing} : stock"
    limit = 1.0 if checkpointing == "stages" else 2.0
    assert counted(benchmark, ratio, goal=5, name=name, limit=limit) <= limit
