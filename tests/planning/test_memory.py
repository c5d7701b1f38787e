"""Counted costs against real ones: the bytes that a real step keeps, and arithmetic that can be done by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from nnunetv2_textguided.network.from_plans import build_from_architecture
from nnunetv2_textguided.planning.memory import BYTES_PER_PARAMETER, SavedBytes, StepCost, StepCounter
from nnunetv2_textguided.planning.step import Labels, step_loss
from nnunetv2_textguided.settings.presets import load_preset, resolve
from tests.networks import architecture, block
from tests.planning.stock import stock_network

LESION = Labels(("csPCa",), regions=False)
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], Labels, tuple[int, ...]]] = {
    "plain": ({}, {}, LESION, (1,)),
    "residual": ({"family": "residual"}, {}, LESION, (1,)),
    "2D": ({"dim": 2}, {}, LESION, (1,)),
    "narrow": ({"features": (16, 32, 48)}, {"encoders": {"width": 0.5}}, LESION, (1,)),
    "shared trunk": ({}, {"encoders": {"shared_from_stage": 1}}, LESION, (1,)),
    "checkpointing": ({}, {"encoders": {"checkpointing": "stages"}}, LESION, (1,)),
    "no text": ({}, {"components": []}, LESION, (1,)),
    "tokens": ({}, {"refiner": {"tokens": "tokens"}}, LESION, (1,)),
    "paper's loss": ({}, load_preset("paper"), LESION, (1,)),
    "classes": ({}, {}, Labels(("PZ", "TZ", "csPCa"), regions=False), (2, 3, 1)),
    "case text": (
        {},
        {"grounding": {"enabled": True}, "text": {"case": {"sentences": True, "clinical": True}}},
        LESION,
        (1,),
    ),
    "regions": ({}, {}, Labels(("gland", "csPCa"), regions=True), (2, 2)),
    "anatomy": (
        {},
        {"alignment": {"anatomy": True}},
        Labels(("csPCa",), regions=False, anatomy=("PZ", "TZ")),
        (2, 1, 3),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_count_is_what_a_real_step_keeps(name: str) -> None:
    plans, override, labels, prompts = CASES[name]
    description = architecture(**plans)
    tokens = {"num_tokens": 9, "token_dim": 6} if "refiner" in override and "tokens" in override["refiner"] else {}
    settings = resolve(block(override, prompts_per_label=prompts, anatomy=len(labels.anatomy), **tokens))
    patch = (4, 32, 32)[-plans.get("dim", 3) :]

    def build() -> nn.Module:
        return build_from_architecture(description, settings, 3, labels.heads, True)

    counted = StepCounter(3, labels, device="cpu").count(build, {}, patch, 2, settings)
    network = build()
    with SavedBytes(network) as real:
        step_loss(labels, settings)(network, torch.randn(2, 3, *patch))
    assert 2 * counted.activations_per_patch == pytest.approx(real.total, rel=0.01)
    assert counted.parameters == sum(p.numel() for p in network.parameters())


def test_mixed_precision_on_cuda_keeps_what_mixed_precision_on_the_cpu_keeps() -> None:
    settings, description = resolve(block()), architecture(features=(16, 32, 64))

    def build() -> nn.Module:
        return build_from_architecture(description, settings, 3, 2, True)

    counted = StepCounter(3, LESION).count(build, {}, (8, 64, 64), 2, settings)
    network = build()
    with SavedBytes(network) as real, torch.autocast("cpu", dtype=torch.bfloat16):
        step_loss(LESION, settings)(network, torch.randn(2, 3, 8, 64, 64))
    assert counted.weight_copies + 2 * counted.activations_per_patch == pytest.approx(real.total, rel=0.03)


def test_bytes_are_proportional_to_voxels_and_batch() -> None:
    settings, counter = resolve(block()), StepCounter(3, LESION)
    description = architecture(features=(16, 32, 64))

    def per_voxel(patch: tuple[int, int, int], batch: int) -> float:
        cost = counter.count(
            lambda: build_from_architecture(description, settings, 3, 2, True), {}, patch, batch, settings
        )
        return cost.activations_per_patch / (patch[0] * patch[1] * patch[2])

    first = per_voxel((8, 32, 32), 2)
    assert per_voxel((8, 64, 96), 2) == pytest.approx(first, rel=0.005)
    assert per_voxel((8, 32, 32), 5) == pytest.approx(first, rel=0.005)


def test_operations_of_one_convolution() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv3d(2, 5, 3, padding=1)

        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            return [self.conv(x)[:, :2], self.conv(x)[:, :2]]

    cost = StepCounter(2, LESION).count(Net, {}, (4, 6, 8), 3, None)
    # Twice the same convolution; a multiplication and an addition for each weight and output voxel.
    assert cost.flops_per_patch == 2 * 2 * (2 * 27 * 5 * 4 * 6 * 8)
    assert cost.parameters == 2 * 27 * 5 + 5


def test_a_step_s_operations_are_three_times_the_forward_pass() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    settings, description = resolve(block()), architecture(features=(16, 32, 64))
    for choice, build in (
        (settings, lambda: build_from_architecture(description, settings, 3, 2, True)),
        (None, lambda: stock_network(description, 3, deep_supervision=True)),
    ):
        counted = StepCounter(3, LESION).count(build, {}, (8, 32, 32), 1, choice)
        network = build()
        with FlopCounterMode(display=False) as real:
            step_loss(LESION, choice)(network, torch.randn(1, 3, 8, 32, 32)).backward()
        assert real.get_total_flops() == pytest.approx(3 * counted.flops_per_patch, rel=0.05)


def test_the_total_is_the_sum_of_its_parts() -> None:
    cost = StepCost(parameters=100, weight_copies=50, activations_per_patch=1000.0, flops_per_patch=1.0, batch_size=3)
    assert cost.fixed == BYTES_PER_PARAMETER * 100 + 50
    assert cost.total == cost.fixed + 3000


@pytest.mark.parametrize(
    ("family", "override"), [("plain", {}), ("residual", {}), ("plain", {"encoders": {"shared_from_stage": 1}})]
)
def test_feature_map_elements_follow_the_bytes_as_in_stock_networks(family: str, override: dict[str, Any]) -> None:
    # nnU-Net's own planners use this number where plans name our network.
    description, patch = architecture(family, features=(32, 64, 128)), (8, 64, 64)
    settings, counter = resolve(block(override)), StepCounter(3, LESION)
    built = {
        "stock": (lambda: stock_network(description, 3, deep_supervision=True), None),
        "ours": (lambda: build_from_architecture(description, settings, 3, 2, True), settings),
    }
    ratios = {}
    for name, (build, choice) in built.items():
        network: Any = build()
        elements = network.compute_conv_feature_map_size(patch)
        ratios[name] = counter.count(build, {"name": name}, patch, 2, choice).activations_per_patch / elements
    assert ratios["ours"] == pytest.approx(ratios["stock"], rel=0.1)
