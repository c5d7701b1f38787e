from __future__ import annotations

import pytest
import torch

from nnunetv2_textguided.errors import NetworkError
from nnunetv2_textguided.network.encoders import AverageFusion, scaled_width
from nnunetv2_textguided.planning.memory import SavedBytes
from tests.networks import architecture, network


def test_fusion_starts_as_the_average() -> None:
    fusion = AverageFusion(torch.nn.Conv3d, 3, 4, 4)
    features = [torch.randn(2, 4, 2, 3, 3) for _ in range(3)]
    torch.testing.assert_close(fusion(features), torch.stack(features).mean(dim=0))


def test_fusion_equals_a_1x1_convolution_of_the_concatenation() -> None:
    torch.manual_seed(0)
    fusion = AverageFusion(torch.nn.Conv2d, 2, 3, 5)
    features = [torch.randn(1, 3, 4, 4) for _ in range(2)]
    weight = torch.cat([conv.weight for conv in fusion.convs], dim=1)
    expected = torch.nn.functional.conv2d(torch.cat(features, dim=1), weight, fusion.convs[0].bias)
    torch.testing.assert_close(fusion(features), expected, rtol=1e-5, atol=1e-5)


def test_one_channel_is_the_stock_encoder_without_fusion() -> None:
    net = network(channels=1)
    assert not any(isinstance(module, AverageFusion) for module in net.encoder.modules())


@pytest.mark.parametrize("family", ["plain", "residual"])
def test_one_channel_without_text_reproduces_the_stock_network(family: str) -> None:
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    plans = architecture(family)
    stock = get_network_from_plans(
        plans["network_class_name"], plans["arch_kwargs"], plans["_kw_requires_import"], 1, 2, deep_supervision=False
    )
    ours = network({"components": []}, channels=1, plans=plans)
    state = {
        key.replace("encoder.", "encoder.branches.0.", 1) if key.startswith("encoder.") else key: value
        for key, value in stock.state_dict().items()
        if not key.startswith("decoder.encoder.")
    }
    ours.load_state_dict(state)
    x = torch.randn(1, 1, 4, 16, 16)
    torch.testing.assert_close(ours(x), stock(x))


@pytest.mark.parametrize("family", ["plain", "residual"])
def test_every_encoder_has_the_kernels_and_depths_of_the_plans(family: str) -> None:
    plans = architecture(family)
    kernels, depths = [[1, 3, 3], [3, 3, 3], [1, 5, 5]], [2, 1, 3]
    plans["arch_kwargs"] |= {"kernel_sizes": kernels}
    plans["arch_kwargs"]["n_conv_per_stage" if family == "plain" else "n_blocks_per_stage"] = depths
    net = network(plans=plans)
    assert len(net.encoder.branches) == 3
    for branch in net.encoder.branches:
        for stage, kernel, depth in zip(branch.stages, kernels, depths, strict=True):
            convolutions = [m for m in stage.modules() if isinstance(m, torch.nn.Conv3d) and m.kernel_size != (1, 1, 1)]
            assert {m.kernel_size for m in convolutions} == {tuple(kernel)}
            assert len(convolutions) == depth * (1 if family == "plain" else 2)
    last = [m for m in net.decoder.stages[-1].modules() if isinstance(m, torch.nn.Conv3d)]
    assert {m.kernel_size for m in last} == {(1, 3, 3)}


def test_each_channel_reaches_only_its_own_encoder() -> None:
    net = network()
    x = torch.randn(1, 3, 4, 16, 16, requires_grad=True)
    first = net.encoder.branches[1].stages[0](x[:, 1:2])
    first.sum().backward()
    assert x.grad is not None
    assert x.grad[:, 1].abs().sum() > 0
    assert x.grad[:, [0, 2]].abs().sum() == 0


@pytest.mark.parametrize("channels", [1, 2, 3, 7])
@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("family", ["plain", "residual"])
def test_any_number_of_channels_in_2d_and_3d(channels: int, dim: int, family: str) -> None:
    net = network(channels=channels, plans=architecture(family, dim))
    x = torch.randn(2, channels, *[4, 16, 16][-dim:])
    assert net(x).shape == (2, 2, *x.shape[2:])


@pytest.mark.parametrize("family", ["plain", "residual"])
@pytest.mark.parametrize(
    "encoders",
    [{"width": 0.5}, {"shared_from_stage": 1}, {"shared_from_stage": 2, "width": 0.5}, {"arrangement": "single"}],
)
def test_cheaper_arrangements_have_fewer_parameters_and_the_same_output(family: str, encoders: dict) -> None:
    full, cheap = network(plans=architecture(family)), network({"encoders": encoders}, plans=architecture(family))
    x = torch.randn(1, 3, 4, 16, 16)
    assert cheap(x).shape == full(x).shape
    assert sum(p.numel() for p in cheap.parameters()) < sum(p.numel() for p in full.parameters())


def test_an_impossible_shared_stage_is_an_error_that_names_the_setting() -> None:
    with pytest.raises(NetworkError, match="shared_from_stage"):
        network({"encoders": {"shared_from_stage": 3}, "components": []}, plans=architecture(features=(8, 16)))


def test_widths_stay_friendly_to_tensor_cores() -> None:
    assert [scaled_width(f, 0.6) for f in (32, 64, 320)] == [16, 40, 192]
    assert scaled_width(6, 0.5) == 3
    assert scaled_width(32, 1.0) == 32


def test_checkpoints_hold_each_encoder_once() -> None:
    names = network().state_dict()
    assert not [name for name in names if name.startswith("decoder.encoder")]
    assert len([n for n in names if n.endswith("stages.0.0.convs.0.conv.weight")]) == 3


@pytest.mark.parametrize("family", ["plain", "residual"])
@pytest.mark.parametrize("encoders", [{}, {"shared_from_stage": 1}], ids=["per channel", "trunk"])
def test_checkpointing_keeps_less_and_changes_no_result(family: str, encoders: dict) -> None:
    plans, x = architecture(family), torch.randn(1, 3, 4, 16, 16)
    results, kept = [], []
    for checkpointing in ("none", "stages"):
        net = network({"components": [], "encoders": {**encoders, "checkpointing": checkpointing}}, plans=plans)
        with SavedBytes(net) as saved:
            output = net(x)
        output.square().mean().backward()
        results.append([output, *(parameter.grad for parameter in net.parameters() if parameter.grad is not None)])
        kept.append(saved.total)
    assert kept[1] < kept[0]
    assert len(results[0]) == len(results[1])
    torch.testing.assert_close(results[1], results[0])
