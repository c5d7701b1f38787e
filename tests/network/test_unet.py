from __future__ import annotations

import pydoc
from typing import Any

import pytest
import torch

from nnunetv2_textguided.errors import NetworkError, SettingsError
from nnunetv2_textguided.losses.targets import map_target
from nnunetv2_textguided.network import AlignRefineUNet
from nnunetv2_textguided.network.backbone import choose_stage
from nnunetv2_textguided.network.from_plans import NETWORK_CLASS
from nnunetv2_textguided.settings.presets import resolve
from tests.networks import REQUIRES_IMPORT, architecture, block, network, resolved_text

X = torch.randn(2, 3, 4, 16, 16, generator=torch.Generator().manual_seed(0))


def learned(net: AlignRefineUNet) -> AlignRefineUNet:
    """`net` as if its refiner had been trained."""
    assert net.refiner is not None
    torch.nn.init.normal_(net.refiner.head.weight)
    if net.refiner.attention is not None:
        torch.nn.init.normal_(net.refiner.attention.mix.weight)
    net.refiner.alpha.fill_(1.0)
    net.refiner.band = 1e9
    return net.eval()


def test_default_forward_is_what_nnunet_expects() -> None:
    net = network(deep_supervision=True)
    outputs = net(X)
    assert [tuple(o.shape) for o in outputs] == [(2, 2, 4, 16, 16), (2, 2, 4, 8, 8)]
    net.decoder.deep_supervision = False
    assert net(X).shape == (2, 2, 4, 16, 16)
    segmentation, similarity = net(X, return_similarity=True)
    assert segmentation.shape == (2, 2, 4, 16, 16)
    assert similarity.shape == (2, 1, 4, 8, 8)


def test_asking_for_the_similarity_does_not_change_the_segmentation() -> None:
    net = learned(network())
    assert torch.equal(net(X), net(X, return_similarity=True)[0])


def test_prediction_uses_the_text() -> None:
    net = learned(network())
    before = net(X)
    net.set_text(net.text_embeddings.flip(0))
    assert not torch.equal(net(X), before)


def test_alpha_zero_changes_logits_only_inside_the_gate() -> None:
    net = learned(network())
    assert net.refiner is not None
    refined, gate = net(X), net.explain(X).gate
    net.refiner.alpha.zero_()
    changed = (refined != net(X)).any(dim=1, keepdim=True)
    assert changed.any()
    assert not (changed & ~gate).any()


def test_explain_takes_the_forward_pass_apart() -> None:
    net = learned(network())
    explanation = net.explain(X)
    assert torch.equal(explanation.logits, net(X))
    assert explanation.heatmap.shape == (2, 1, 4, 16, 16)
    assert ((explanation.heatmap > 0) & (explanation.heatmap < 1)).all()
    assert (explanation.change[~explanation.gate.expand_as(explanation.change)] == 0).all()
    assert 0 < explanation.gate.float().mean() <= net.refiner.prediction_fraction  # type: ignore[union-attr]


def test_a_network_without_text_says_so_and_has_no_text_parameters() -> None:
    net = network({"components": []})
    assert net(X, return_similarity=True)[1] is None
    assert not [n for n, _ in net.named_parameters() if "alignment" in n or "refiner" in n]
    with pytest.raises(NetworkError, match="without text"):
        net.explain(X)


def test_without_a_refiner_prediction_does_not_run_the_head() -> None:
    net = network({"components": ["alignment", "heatmap"]})
    calls: list[int] = []
    assert net.alignment is not None
    net.alignment.register_forward_hook(lambda *_: calls.append(1))
    net(X)
    assert calls == []
    net(X, return_similarity=True)
    assert calls == [1]


def test_state_round_trip_carries_text_and_alpha() -> None:
    net, twin = learned(network()), network(seed=1).eval()
    twin.load_state_dict(net.state_dict())
    twin.refiner.band = 1e9  # type: ignore[union-attr]
    assert torch.equal(twin(X), net(X))


def test_embeddings_of_another_shape_are_refused() -> None:
    with pytest.raises(NetworkError, match=r"\(4, 12\), not \(3, 12\)"):
        network().set_text(torch.zeros(3, 12))


def test_the_refiner_can_attend_to_tokens() -> None:
    net = learned(network({"refiner": {"tokens": "tokens"}}, num_tokens=9, token_dim=6))
    before = net(X)
    net.set_text(net.text_embeddings.clone(), net.text_tokens.flip(0) + 1)
    assert not torch.equal(net(X), before)


def test_learned_text_is_a_parameter() -> None:
    net = network({"text": {"control": "learned"}}, deep_supervision=True)
    segmentation, similarity = net(X, return_similarity=True)
    (segmentation[0].sum() + similarity.sum()).backward()
    assert net.text_embeddings.grad is not None
    assert net.text_embeddings.grad.abs().sum() > 0


@pytest.mark.parametrize("heads", [4, 3])
def test_several_classes_and_regions(heads: int) -> None:
    net = learned(network(heads=heads, prompts_per_label=(1, 3, 2)))
    assert net(X, return_similarity=True)[1].shape == (2, 3, 4, 8, 8)
    assert (net.explain(X).logits.shape[1]) == heads


def test_text_that_names_other_labels_than_the_network_has_heads_is_refused() -> None:
    with pytest.raises(NetworkError, match="names 1 labels, but the network has 5"):
        network(heads=5)


def test_plans_without_resolved_text_are_refused_with_a_remedy() -> None:
    from nnunetv2_textguided.network.from_plans import build_from_architecture

    with pytest.raises(NetworkError, match="do not say which prompts"):
        build_from_architecture(architecture(), resolve(None), 3, 2, False)


def test_a_foreign_network_class_is_refused() -> None:
    plans = {**architecture(), "network_class_name": "torch.nn.Linear"}
    with pytest.raises(NetworkError, match="not supported"):
        network(plans=plans)


def test_a_misspelt_setting_in_the_plans_is_an_error() -> None:
    with pytest.raises(SettingsError, match="did you mean 'tau'"):
        as_plans_name_it({"refiner": {"tua": 0.3}})


def as_plans_name_it(guidance: dict[str, Any]) -> AlignRefineUNet:
    """The network as nnU-Net calls it from plans that name it."""
    plans = architecture()
    return AlignRefineUNet(
        3, 2, backbone=plans["network_class_name"], text_guidance=guidance, **_located(plans["arch_kwargs"])
    )


def _located(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {key: pydoc.locate(value) if key in REQUIRES_IMPORT and value else value for key, value in kwargs.items()}


def test_a_network_reads_no_file_and_guesses_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    complete = {**block(), "preset": "/moved/away.json"}

    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError(f"opened {arguments[0]}")

    with monkeypatch.context() as patched:
        patched.setattr("builtins.open", refuse)
        patched.setattr("io.open", refuse)
        assert as_plans_name_it(complete).alignment is not None
    with pytest.raises(SettingsError, match="not complete: it lacks version, components"):
        as_plans_name_it({"preset": "paper", "text": complete["text"]})


def test_plans_that_name_our_network_are_built_by_the_stock_builder() -> None:
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    plans = architecture()
    kwargs = {**plans["arch_kwargs"], "backbone": plans["network_class_name"], "text_guidance": block()}
    net = get_network_from_plans(NETWORK_CLASS, kwargs, plans["_kw_requires_import"], 3, 2, deep_supervision=True)
    assert isinstance(net, AlignRefineUNet)
    assert len(net(X)) == 2


STRIDES_PICAI = [[1, 1, 1], [1, 2, 2], [1, 2, 2], [2, 2, 2], [2, 2, 2], [1, 2, 2]]


def test_text_meets_the_image_at_an_in_plane_stride_of_at_most_four() -> None:
    # Decoder stage s works at encoder level 4 - s; level 2 has stride 4.
    assert choose_stage(STRIDES_PICAI, None, 4) == 2
    assert choose_stage(STRIDES_PICAI, None, 8) == 1
    assert choose_stage([[4, 4], [2, 2]], None, 2) == 0
    assert choose_stage(STRIDES_PICAI, 0, 4) == 0
    with pytest.raises(NetworkError, match="no decoder stage 5"):
        choose_stage(STRIDES_PICAI, 5, 4)


def test_a_perfect_map_outlines_a_lesion_at_the_chosen_stage_and_not_at_the_bottleneck() -> None:
    """A 10 mm lesion at PI-CAI's 3 x 0.5 x 0.5 mm: the best Dice that a map can have on either grid."""
    patch, spacing = (20, 256, 256), (3.0, 0.5, 0.5)
    place = torch.stack(
        torch.meshgrid(*[torch.arange(n) * s for n, s in zip(patch, spacing, strict=True)], indexing="ij")
    )
    centre = torch.tensor([31.0, 61.0, 67.0]).view(3, 1, 1, 1)
    lesion = ((place - centre).square().sum(dim=0) < 25.0)[None, None]
    levels = torch.tensor(STRIDES_PICAI).cumprod(dim=0)

    def best_dice(level: int) -> float:
        grid = [n // int(s) for n, s in zip(patch, levels[level], strict=True)]
        share = map_target(lesion.int(), grid, [1], None).foreground
        image = torch.nn.functional.interpolate(share, patch, mode="trilinear")
        marked = [image > threshold for threshold in torch.linspace(0.05, 0.95, 19) * float(share.max())]
        return max(float(2 * (m & lesion).sum() / (m.sum() + lesion.sum())) for m in marked)

    assert best_dice(len(STRIDES_PICAI) - 2 - choose_stage(STRIDES_PICAI, None, 4)) > 0.85
    assert best_dice(-1) < 0.5


@pytest.mark.parametrize("checkpointing", ["none", "stages"])
def test_compile_makes_one_graph_for_all_epochs(checkpointing: str) -> None:
    net = network({"encoders": {"checkpointing": checkpointing}}, deep_supervision=True)
    graphs: list[int] = []

    def count(graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> torch.fx.GraphModule:
        graphs.append(1)
        return graph

    compiled = torch.compile(net, fullgraph=True, backend=count)
    for epoch in range(6):
        net.refiner.alpha.fill_(epoch / 5)  # type: ignore[union-attr]
        segmentation, similarity = compiled(X, return_similarity=True)
        expected = net(X, return_similarity=True)
        torch.testing.assert_close(segmentation[0], expected[0][0])
        torch.testing.assert_close(similarity, expected[1])
    assert len(graphs) == 1


def test_a_compiled_training_step_is_one_graph_for_all_epochs_with_the_same_gradients() -> None:
    """Backward included: AOTAutograd also traces the balance of the gradients."""
    from torch._dynamo.testing import CompileCounterWithBackend

    def gradients(model: torch.nn.Module, net: AlignRefineUNet) -> list[torch.Tensor]:
        net.zero_grad()
        segmentation, similarity = model(X, return_similarity=True)
        (segmentation[0].square().mean() + segmentation[1].square().mean() + similarity.square().mean()).backward()
        return [p.grad for p in net.parameters() if p.grad is not None]

    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    net = learned(network(deep_supervision=True)).train()
    compiled = torch.compile(net, fullgraph=True, backend=counter)
    for epoch in range(4):
        net.refiner.alpha.fill_(epoch / 3)  # type: ignore[union-attr]
        expected = [g.clone() for g in gradients(net, net)]
        torch.testing.assert_close(gradients(compiled, net), expected, rtol=1e-3, atol=1e-5)
    assert counter.frame_count == 1


def test_half_precision_casts_no_weight_in_place() -> None:
    """So a gradient scaler accepts every gradient; "Attempting to unscale FP16 gradients" is what it says otherwise."""
    net = learned(network(deep_supervision=True)).train()
    optimiser = torch.optim.SGD(net.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler("cpu", init_scale=128.0)
    for _ in range(2):
        optimiser.zero_grad()
        with torch.autocast("cpu", dtype=torch.float16):
            segmentation, similarity = net(X, return_similarity=True)
            loss = sum(s.float().square().mean() for s in segmentation) + similarity.square().mean()
        scaler.scale(loss).backward()
        scaler.unscale_(optimiser)
        scaler.step(optimiser)
        scaler.update()
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    assert all(
        p.grad is not None and p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in net.parameters()
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gives_finite_outputs_and_the_same_heatmap(dtype: torch.dtype) -> None:
    net = learned(network())
    reference = torch.sigmoid(net(X, return_similarity=True)[1])
    with torch.autocast("cpu", dtype=dtype):
        segmentation, similarity = net(X, return_similarity=True)
    assert segmentation.isfinite().all()
    assert similarity.dtype == torch.float32
    torch.testing.assert_close(torch.sigmoid(similarity), reference, rtol=0, atol=0.05)


@pytest.mark.parametrize("x", [torch.zeros(1, 3, 4, 16, 16), torch.full((1, 3, 4, 16, 16), 1e6), X[:1] * 1e-6])
def test_degenerate_images_give_finite_outputs_and_gradients(x: torch.Tensor) -> None:
    net = learned(network()).train()
    segmentation, similarity = net(x, return_similarity=True)
    (segmentation.square().mean() + similarity.mean()).backward()
    assert segmentation.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


def test_resolved_text_must_be_consistent() -> None:
    for change, message in (
        ({"prompt_label": [0, 0]}, "entries of prompt_label"),
        ({"prompt_label": [-1, 0, 0, -1]}, "ordered"),
        ({"prompt_label": [0, 0, 1, -1]}, "does not exist"),
        ({"labels": ["a", "b"]}, "has no prompt"),
    ):
        with pytest.raises(SettingsError, match=message):
            resolve({"text": {"resolved": {**resolved_text(), **change}}})
