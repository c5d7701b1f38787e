from __future__ import annotations

import pytest
import torch

from nnunetv2_textguided.errors import SettingsError
from nnunetv2_textguided.network.channel_dropout import ChannelDropout
from nnunetv2_textguided.network.encoders import AverageFusion
from nnunetv2_textguided.settings.presets import resolve
from tests.networks import network


def dropping(probability: float, **more: object) -> dict:
    return {"training": {"channel_dropout": probability}, **more}


def test_without_dropout_nothing_changes_and_no_random_number_is_drawn() -> None:
    net, x = network(dropping(0.0)).train(), torch.randn(2, 3, 4, 16, 16)
    plain, stages = [branch(x[:, i : i + 1]) for i, branch in enumerate(net.encoder.branches)], net.encoder.fusions
    state = torch.get_rng_state()
    skips = net.encoder(x)
    assert torch.equal(torch.get_rng_state(), state)
    for stage, fusion in enumerate(stages):
        assert torch.equal(skips[stage], fusion([maps[stage] for maps in plain]))


def test_dropout_adds_no_weights() -> None:
    assert list(network(dropping(0.5)).state_dict()) == list(network().state_dict())


def test_fused_features_become_the_average_over_the_channels_that_are_there() -> None:
    fusion, dropout = AverageFusion(torch.nn.Conv3d, 3, 4, 4), ChannelDropout(3, 0.0)
    features = [torch.randn(2, 4, 2, 3, 3) for _ in range(3)]
    dropout.missing = frozenset({0})
    fused = fusion(features, dropout(torch.zeros(2, 3, 2, 2, 2)))
    torch.testing.assert_close(fused, (features[1] + features[2]) / 2)


def test_the_bias_of_the_fusion_stays_where_the_first_channel_is_missing() -> None:
    fusion = AverageFusion(torch.nn.Conv2d, 2, 3, 3)
    torch.nn.init.constant_(fusion.convs[0].bias, 5.0)
    fused = fusion([torch.ones(1, 3, 2, 2)] * 2, torch.tensor([[0.0, 2.0]]))
    torch.testing.assert_close(fused, torch.full((1, 3, 2, 2), 6.0))


def test_each_channel_is_left_out_as_often_as_asked_for_and_never_all() -> None:
    torch.manual_seed(0)
    dropout, x = ChannelDropout(3, 0.3), torch.zeros(40_000, 3, 1, 1, 1)
    factors = dropout(x)
    assert factors is not None
    # Where all three would go (0.3 ** 3), one of them, any, stays.
    share = (factors == 0).float().mean(dim=0)
    torch.testing.assert_close(share, torch.full((3,), 0.3 - 0.3**3 / 3), atol=0.01, rtol=0)
    torch.testing.assert_close(factors.sum(dim=1), torch.full((len(x),), 3.0))
    assert (ChannelDropout(2, 0.99)(torch.zeros(1000, 2, 1, 1)).sum(dim=1) == 2).all()  # type: ignore[union-attr]


def test_a_dropped_encoder_gets_no_gradient() -> None:
    torch.manual_seed(1)
    net = network(dropping(0.9)).train()
    seen: list[torch.Tensor] = []
    net.encoder.channel_dropout.register_forward_hook(lambda _, __, factors: seen.append(factors))
    net(torch.randn(1, 3, 4, 16, 16)).square().mean().backward()
    gradients = [
        max(float(p.grad.abs().max()) for p in branch.stages.parameters() if p.grad is not None)
        for branch in net.encoder.branches
    ]
    dropped = (seen[0][0] == 0).tolist()
    assert 0 < sum(dropped) < 3
    assert [gradient == 0 for gradient in gradients] == dropped


def test_one_channel_is_never_left_out() -> None:
    for encoders in ({}, {"width": 0.5}):
        net, x = network(dropping(0.9, encoders=encoders), channels=1), torch.randn(2, 1, 4, 16, 16)
        torch.testing.assert_close(net.train()(x), net.eval()(x), rtol=0, atol=0)


def test_what_a_missing_channel_holds_does_not_matter_at_prediction() -> None:
    net, x = network(dropping(0.5)).eval(), torch.randn(2, 3, 4, 16, 16)
    complete = net(x)
    net.encoder.channel_dropout.missing = frozenset({1})
    without = net(x)
    x[:, 1] = 7.0
    assert torch.equal(net(x), without)
    assert not torch.equal(without, complete)
    net.encoder.channel_dropout.missing = frozenset({0, 1, 2})
    with pytest.raises(ValueError, match="All channels"):
        net(x)


def test_prediction_with_all_channels_is_that_of_a_network_without_dropout() -> None:
    x = torch.randn(1, 3, 4, 16, 16)
    assert torch.equal(network(dropping(0.5)).eval()(x), network().eval()(x))


def test_dropout_works_with_a_shared_trunk_and_checkpointing() -> None:
    encoders = {"shared_from_stage": 1, "checkpointing": "stages"}
    net = network(dropping(0.5, encoders=encoders)).train()
    net(torch.randn(2, 3, 4, 16, 16)).square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


def test_one_encoder_for_all_channels_cannot_leave_one_out() -> None:
    with pytest.raises(SettingsError, match=r"channel_dropout needs encoders\.arrangement"):
        resolve(dropping(0.2, encoders={"arrangement": "single"}))
    with pytest.raises(SettingsError, match="channel_dropout"):
        resolve(dropping(1.0))
