from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from nnunetv2_textguided.settings.presets import resolve
from nnunetv2_textguided.training.optimiser import GROUPS, GroupPolyLR, build_optimiser
from tests.networks import network


def test_every_parameter_is_in_exactly_one_group() -> None:
    net = network({"text": {"control": "learned"}})
    optimiser = build_optimiser(net, resolve(None))
    assert [g["name"] for g in optimiser.param_groups] == list(GROUPS)
    members = [id(p) for g in optimiser.param_groups for p in g["params"]]
    assert sorted(members) == sorted(id(p) for p in net.parameters())
    text = {id(p) for p in optimiser.param_groups[1]["params"]}
    assert id(net.text_embeddings) in text
    assert id(net.alignment.bias) in text  # type: ignore[union-attr]


def test_the_refiner_does_not_decay_before_it_is_used() -> None:
    """With alpha = 0 its gradients are exactly 0: its weights must be the same after many steps."""
    net = network()
    net.refiner.alpha.zero_()  # type: ignore[union-attr]
    optimiser = build_optimiser(net, resolve({"optimiser": {"weight_decay": 0.1}}))
    before = [p.clone() for p in net.refiner.parameters()]  # type: ignore[union-attr]
    backbone = next(net.encoder.parameters()).clone()
    for _ in range(5):
        optimiser.zero_grad()
        net(torch.randn(1, 3, 2, 8, 8)).square().mean().backward()
        optimiser.step()
    assert all(torch.equal(a, b) for a, b in zip(before, net.refiner.parameters(), strict=True))  # type: ignore[union-attr]
    assert not torch.equal(backbone, next(net.encoder.parameters()))


def rates_of(design: str) -> Callable[[int], list[float]]:
    """The rates of an epoch, of 100 whose refine phase starts at 50."""
    rates = {"lr": 0.01, "text_lr": 0.02, "refiner_lr": 0.005}
    block = {"optimiser": rates, "schedule": {"refine": 0.5}, "refiner": {"design": design}}
    settings = resolve(block)
    optimiser = build_optimiser(network(block), settings)
    scheduler = GroupPolyLR(optimiser, 100, settings)

    def rates_at(epoch: int) -> list[float]:
        scheduler.step(epoch)
        return [g["lr"] for g in optimiser.param_groups]

    return rates_at


def test_a_network_that_is_finished_before_the_refine_phase_stays_as_it_is() -> None:
    rates = rates_of("surface")
    assert rates(0) == pytest.approx([0.01, 0.02, 0.005])
    assert rates(25) == pytest.approx([0.01 * 0.5**0.9, 0.02 * 0.5**0.9, 0.005])
    assert rates(50) == pytest.approx([0, 0, 0.005])
    assert rates(75) == pytest.approx([0, 0, 0.005 * 0.5**0.9])


def test_rates_decay_apart_and_the_refiner_s_from_its_own_phase() -> None:
    rates = rates_of("attention")
    assert rates(0) == pytest.approx([0.01, 0.02, 0.005])
    assert rates(50) == pytest.approx([0.01 * 0.5**0.9, 0.02 * 0.5**0.9, 0.005])
    assert rates(75) == pytest.approx([0.01 * 0.25**0.9, 0.02 * 0.25**0.9, 0.005 * 0.5**0.9])
    # Stateless: what an epoch gets does not depend on the epochs before, so `--c` needs nothing restored.
    assert rates(50) == pytest.approx([0.01 * 0.5**0.9, 0.02 * 0.5**0.9, 0.005])


def test_the_backbone_s_rate_is_nnunet_s() -> None:
    from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler

    settings = resolve({"components": ["alignment", "heatmap"]})
    ours, theirs = build_optimiser(network(), settings), build_optimiser(network(), settings)
    mine, stock = GroupPolyLR(ours, 30, settings), PolyLRScheduler(theirs, settings.optimiser.lr, 30)
    for epoch in range(30):
        mine.step(epoch)
        stock.step(epoch)
        assert ours.param_groups[0]["lr"] == pytest.approx(theirs.param_groups[0]["lr"])


def test_groups_are_fixed_also_without_text() -> None:
    optimiser = build_optimiser(network({"components": []}), resolve({"components": []}))
    assert [len(g["params"]) > 0 for g in optimiser.param_groups] == [True, False, False]
