from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from nnunetv2_textguided.network.attention_refiner import AttentionRefiner, _with_neighbours
from nnunetv2_textguided.network.gate import sample
from tests.networks import saved_bytes

SHAPE = (4, 6, 8)


def refiner(**changes: object) -> AttentionRefiner:
    torch.manual_seed(1)
    options = {"feature_width": 5, "token_dim": 7, "num_labels": 1, "has_regions": False, "dim": 8, "heads": 2}
    module = AttentionRefiner(**{**options, "max_fraction": 0.25, **changes})  # type: ignore[arg-type]
    module.alpha.fill_(1.0)
    # A refiner that has learned something: the projection starts at zero.
    torch.nn.init.normal_(module.out.weight)
    return module


def refined(module: AttentionRefiner, logits: torch.Tensor, *rest: object) -> torch.Tensor:
    return module.refine(logits, module(logits, *rest))


def inputs(heads: int = 2, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, object]:
    torch.manual_seed(2)
    logits = 2 * torch.randn(batch, heads, *SHAPE)
    features, similarity = torch.randn(batch, 5, *SHAPE), torch.randn(batch, 1, 2, 3, 4)
    return logits, features, similarity, torch.randn(3, 7), torch.nn.Conv3d(5, heads, 1)


def test_alpha_zero_is_exactly_the_identity() -> None:
    module = refiner()
    module.alpha.zero_()
    arguments = inputs()
    assert torch.equal(refined(module, *arguments), arguments[0])


def test_a_fresh_refiner_is_exactly_the_identity() -> None:
    module = AttentionRefiner(5, 7, 1, has_regions=False, dim=8, heads=2)
    module.alpha.fill_(1.0)
    arguments = inputs()
    assert torch.equal(refined(module, *arguments), arguments[0])


def test_an_empty_gate_is_exactly_the_identity_with_finite_gradients() -> None:
    module = refiner()
    logits, *rest = inputs()
    logits = torch.stack([logits[:, 0] + 50, logits[:, 1] - 50], dim=1).requires_grad_()
    after = refined(module, logits, *rest)
    assert torch.equal(after, logits)
    after.square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())


def test_only_gated_voxels_change() -> None:
    module = refiner()
    arguments = inputs()
    gate = module.gate(arguments[0])
    changed = (refined(module, *arguments) != arguments[0]).any(dim=1).flatten(1)
    allowed = torch.zeros_like(changed).scatter(1, gate.places, gate.open)
    assert changed.any()
    assert torch.equal(changed, allowed)


def test_the_gate_takes_the_most_confident_voxels_above_the_threshold() -> None:
    module = refiner(tau=0.6, max_fraction=0.1)
    logits = inputs()[0]
    probability = torch.softmax(logits, dim=1)[:, 1].flatten(1)
    gate = module.gate(logits)
    count = int(0.1 * probability.shape[1])
    assert gate.places.shape == (2, count)
    for i in range(2):
        expected = {v for v in probability[i].topk(count).indices.tolist() if probability[i, v] > 0.6}
        assert set(gate.places[i][gate.open[i]].tolist()) == expected


def test_the_gate_uses_sigmoids_for_regions_and_softmax_for_classes() -> None:
    logits = torch.zeros(1, 2, 4)
    logits[0, :, 0] = torch.tensor([3.0, 3.0])
    assert refiner(tau=0.7, has_regions=True).gate(logits.view(1, 2, 1, 2, 2)).open.any()
    assert not refiner(tau=0.7).gate(logits.view(1, 2, 1, 2, 2)).open.any()


@pytest.mark.parametrize(("heads", "regions"), [(2, False), (4, False), (3, True)])
@pytest.mark.parametrize("tau", [0.0, 0.3, 0.9])
def test_the_gate_in_log_odds_is_the_gate_in_probabilities(heads: int, regions: bool, tau: float) -> None:
    module, logits = refiner(tau=tau, has_regions=regions, max_fraction=0.5), inputs(heads)[0]
    probability = torch.sigmoid(logits).amax(dim=1) if regions else 1 - torch.softmax(logits, dim=1)[:, 0]
    gate = module.gate(logits)
    strongest = probability.flatten(1).topk(gate.places.shape[1], dim=1)
    for i in range(2):
        expected = strongest.indices[i][strongest.values[i] > tau]
        assert set(gate.places[i][gate.open[i]].tolist()) == set(expected.tolist())


def test_no_gradient_passes_through_the_gate() -> None:
    logits = inputs()[0].requires_grad_()
    gate = refiner().gate(logits)
    assert not gate.places.requires_grad
    assert not gate.open.requires_grad


def test_the_change_varies_between_voxels_and_depends_on_the_prompts() -> None:
    module = refiner()
    logits, features, similarity, tokens, head = inputs()
    gate = module.gate(logits)
    change = module.change(gate, features, similarity, tokens, head)
    moved = change.transpose(1, 2)[gate.open]
    assert moved.std(dim=0).min() > 0.01 * moved.abs().mean()
    other = module.change(gate, features, similarity, tokens.flip(1), head)
    assert (other - change).abs().max() > 0.01 * change.abs().max()


def test_every_parameter_receives_gradient_from_the_second_step_on() -> None:
    module = AttentionRefiner(5, 7, 1, has_regions=False, dim=8, heads=2, max_fraction=0.25)
    module.alpha.fill_(1.0)
    logits, features, similarity, tokens, head = inputs()
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1)
    for step in range(2):
        optimiser.zero_grad()
        refined(module, logits, features, similarity, tokens, head).square().sum().backward()
        still = {n for n, p in module.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
        # At the first step only the zero-initialised projection can move; the softmax makes a key bias irrelevant.
        assert ("out.weight" not in still) if step == 0 else (still <= {"key.bias"})
        optimiser.step()


def test_key_bias_is_the_only_parameter_that_softmax_makes_idle() -> None:
    module = refiner()
    refined(module, *inputs()).square().sum().backward()
    idle = {n for n, p in module.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-6}
    assert idle <= {"key.bias"}


def test_neighbours_are_the_mean_over_faces_with_replicated_borders() -> None:
    features = torch.randn(1, 3, *SHAPE)
    index = torch.arange(4 * 6 * 8)[None]
    padded = F.pad(features, (1, 1, 1, 1, 1, 1), mode="replicate")
    faces = [padded[:, :, 1 + d : 1 + d + 4, 1:-1, 1:-1] for d in (-1, 1)]
    faces += [padded[:, :, 1:-1, 1 + d : 1 + d + 6, 1:-1] for d in (-1, 1)]
    faces += [padded[:, :, 1:-1, 1:-1, 1 + d : 1 + d + 8] for d in (-1, 1)]
    expected = torch.cat([features, torch.stack(faces).mean(dim=0)], dim=1).flatten(2)
    torch.testing.assert_close(_with_neighbours(features, index), expected.transpose(1, 2))


@pytest.mark.parametrize("shape", [(4, 6, 8), (6, 8)])
def test_sampled_similarity_is_the_interpolated_map(shape: tuple[int, ...]) -> None:
    coarse = torch.randn(2, 3, *[n // 2 for n in shape])
    mode = "trilinear" if len(shape) == 3 else "bilinear"
    expected = F.interpolate(coarse, shape, mode=mode, align_corners=False).flatten(2)
    index = torch.arange(expected.shape[2])[None].expand(2, -1)
    torch.testing.assert_close(sample(coarse, index, torch.Size(shape)), expected.transpose(1, 2), rtol=1e-4, atol=1e-5)


def test_cost_follows_the_gated_fraction_and_not_the_volume() -> None:
    def kept(fraction: float) -> int:
        module = refiner(max_fraction=fraction, feature_width=32, dim=32, heads=4)
        shape = (8, 32, 32)
        logits = torch.randn(1, 2, *shape, requires_grad=True)
        features = torch.randn(1, 32, *shape, requires_grad=True)
        similarity = torch.randn(1, 1, 4, 8, 8, requires_grad=True)
        head, tokens = torch.nn.Conv3d(32, 2, 1), torch.randn(5, 7)
        given = [logits, features, similarity, tokens, *module.parameters(), *head.parameters()]
        return saved_bytes(lambda: refined(module, logits, features, similarity, tokens, head), given)

    one, two, four = kept(0.01), kept(0.02), kept(0.04)
    assert (four - two) == pytest.approx(2 * (two - one), rel=0.05)
    # 8 x 32 x 32 voxels with 32 float channels are 1 MiB; the refiner of 1 % of them saves a few percent of one map.
    assert one < 0.25 * 8 * 32 * 32 * 32 * 4
