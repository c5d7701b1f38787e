"""Prompts that look at the image, and maps that are passed back into the decoder."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nnunetv2_textguided.network import AlignRefineUNet
from nnunetv2_textguided.network.alignment import AlignmentHead
from nnunetv2_textguided.network.conditioning import PromptConditioning
from tests.networks import network

X = torch.randn(2, 3, 4, 16, 16, generator=torch.Generator().manual_seed(0))
CONDITIONED: dict[str, Any] = {"alignment": {"conditioning": "image"}}
FED_BACK: dict[str, Any] = {"alignment": {"feedback": True}}
NO_REFINER: dict[str, Any] = {"components": ["alignment", "heatmap"]}


def conditioning(trained: bool = True) -> PromptConditioning:
    torch.manual_seed(0)
    module = PromptConditioning(image_width=6, dim=8)
    if trained:
        torch.nn.init.normal_(module.out.weight)
    return module


def without_extra(net: AlignRefineUNet, *overrides: dict[str, Any]) -> AlignRefineUNet:
    """The same weights in a network that has nothing but what `overrides` say."""
    plain = network(*overrides)
    own = plain.state_dict()
    plain.load_state_dict({key: value for key, value in net.state_dict().items() if key in own})
    return plain


def test_conditioning_starts_from_the_words_alone() -> None:
    text = torch.randn(5, 8)
    conditioned = conditioning(trained=False)(text, torch.randn(2, 6, 2, 3))
    assert torch.equal(conditioned, text.expand(2, -1, -1))


def test_conditioned_prompts_differ_between_images_and_not_between_orders_of_voxels() -> None:
    module, text, image = conditioning(), torch.randn(5, 8), torch.randn(2, 6, 4, 3)
    first, second = module(text, image)
    assert not torch.allclose(first, second, atol=1e-3)
    torch.testing.assert_close(module(text, image.flip(2))[0], first, rtol=1e-4, atol=1e-5)


def test_every_parameter_of_the_conditioning_receives_gradient() -> None:
    module = conditioning()
    module(torch.randn(5, 8), torch.randn(2, 6, 4)).square().sum().backward()
    # A key's bias adds the same to all scores of a query, which softmax does not see.
    idle = {n for n, p in module.named_parameters() if p.grad is None or not p.grad.abs().sum() > 1e-4}
    assert idle <= {"key.bias"}


@pytest.mark.parametrize("image", [torch.zeros(1, 6, 4), torch.full((1, 6, 1), 1e15)])
def test_degenerate_features_condition_to_finite_prompts(image: torch.Tensor) -> None:
    assert torch.isfinite(conditioning()(torch.zeros(1, 8), image)).all()


def test_a_width_that_four_heads_do_not_divide_gets_one() -> None:
    assert PromptConditioning(6, 7)(torch.randn(3, 7), torch.randn(2, 6, 5)).shape == (2, 3, 7)


@pytest.mark.parametrize("extra", [CONDITIONED, FED_BACK])
def test_untrained_it_is_the_network_without(extra: dict[str, Any]) -> None:
    net = network(extra).eval()
    segmentation, similarity = net(X, return_similarity=True)
    expected = without_extra(net).eval()(X, return_similarity=True)
    torch.testing.assert_close(segmentation, expected[0])
    torch.testing.assert_close(similarity, expected[1])


def test_fed_back_maps_take_the_text_into_every_voxels_decision() -> None:
    net = network(FED_BACK, NO_REFINER).eval()
    assert net.alignment is not None
    assert net.alignment.feedback is not None
    torch.nn.init.normal_(net.alignment.feedback.weight)
    before = net(X)
    assert torch.equal(net(X, return_similarity=True)[0], before)
    torch.testing.assert_close(net.explain(X).logits, before)
    net.set_text(net.text_embeddings.flip(0))
    assert (net(X) != before).float().mean() > 0.9


def test_the_segmentation_loss_trains_the_fed_back_maps() -> None:
    net = network(FED_BACK, NO_REFINER)
    assert net.alignment is not None
    assert net.alignment.feedback is not None
    net(X).square().mean().backward()
    assert net.alignment.feedback.weight.grad is not None
    assert net.alignment.feedback.weight.grad.abs().sum() > 0
    torch.nn.init.normal_(net.alignment.feedback.weight)
    net.zero_grad()
    net(X).square().mean().backward()
    assert net.alignment.text_projection.weight.grad is not None
    assert net.alignment.text_projection.weight.grad.abs().sum() > 0


def test_extreme_maps_do_not_drown_the_features() -> None:
    module = AlignmentHead(6, 5, [1], 1, 4, feedback=True)
    assert module.feedback is not None
    torch.nn.init.ones_(module.feedback.weight)
    features = torch.randn(1, 6, 3, 3)
    added = module.feed_back(features, torch.full((1, 1, 3, 3), 1e6)) - features
    torch.testing.assert_close(added, torch.ones_like(added))
    assert module.feed_back(features.half(), torch.zeros(1, 1, 3, 3)).dtype == torch.float16


def test_compiled_they_are_one_graph() -> None:
    torch._dynamo.reset()
    net = network(CONDITIONED, FED_BACK, deep_supervision=True)
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    segmentation, similarity = compiled(X, return_similarity=True)
    expected = net(X, return_similarity=True)
    torch.testing.assert_close(segmentation[0], expected[0][0])
    torch.testing.assert_close(similarity, expected[1])
