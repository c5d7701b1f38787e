from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from nnunetv2_textguided.network.alignment import AlignmentHead


def head(**changes: object) -> AlignmentHead:
    torch.manual_seed(0)
    options = {"feature_width": 6, "embedding_dim": 5, "prompts_per_label": [2, 1], "context_prompts": 3}
    return AlignmentHead(**{**options, "projection_dim": 4, **changes})  # type: ignore[arg-type]


def test_logits_are_the_formula_of_the_design() -> None:
    module = head()
    features, embeddings = torch.randn(2, 6, 3, 4, 5), torch.randn(6, 5)
    image = F.normalize(torch.einsum("bwzyx,dw->bdzyx", features, module.image_projection.weight), dim=1)
    text = F.normalize(embeddings @ module.text_projection.weight.T, dim=1)
    likelihood = torch.exp(torch.einsum("bdzyx,kd->bkzyx", image, text) / 0.07)
    context = likelihood[:, 3:].mean(dim=1)
    expected = torch.stack([likelihood[:, :2].mean(dim=1) / context, likelihood[:, 2] / context], dim=1).log()
    expected = expected + math.log(0.01 / 0.99)
    logits = module(features, embeddings)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    # The head normalises products where the formula normalises features: gradients have to agree, too.
    direction, parameters = torch.randn_like(expected), (module.image_projection.weight, module.text_projection.weight)
    mine, formula = (torch.autograd.grad((x * direction).sum(), parameters) for x in (logits, expected))
    torch.testing.assert_close(mine, formula, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("context", [3, 0])
def test_exclusive_labels_compete_with_each_other_as_with_the_context(context: int) -> None:
    module, features = head(exclusive=True, context_prompts=context), torch.randn(2, 6, 3, 4, 5)
    embeddings = torch.randn(3 + context, 5)
    image = F.normalize(torch.einsum("bwzyx,dw->bdzyx", features, module.image_projection.weight), dim=1)
    text = F.normalize(embeddings @ module.text_projection.weight.T, dim=1)
    likelihood = torch.exp(torch.einsum("bdzyx,kd->bkzyx", image, text) / 0.07)
    others = [[2, *range(3, 3 + context)], [0, 1, *range(3, 3 + context)]]
    pairs = zip(([0, 1], [2]), others, strict=True)
    ratios = [likelihood[:, own].mean(1) / likelihood[:, other].mean(1) for own, other in pairs]
    expected = torch.stack(ratios, dim=1).log() + math.log(0.01 / 0.99)
    torch.testing.assert_close(module(features, embeddings), expected, rtol=1e-4, atol=1e-4)


def test_a_label_without_any_negative_has_none() -> None:
    features, embeddings = torch.randn(1, 6, 2, 2), torch.randn(2, 5)
    alone, plain = (head(prompts_per_label=[2], context_prompts=0, exclusive=value) for value in (True, False))
    assert torch.equal(alone(features, embeddings), plain(features, embeddings))


def test_prompt_order_within_a_label_does_not_matter_but_membership_does() -> None:
    module = head()
    features, embeddings = torch.randn(1, 6, 2, 2), torch.randn(6, 5)
    reference = module(features, embeddings)
    torch.testing.assert_close(module(features, embeddings[[1, 0, 2, 5, 3, 4]]), reference, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(module(features, embeddings[[2, 1, 0, 3, 4, 5]]), reference, atol=1e-2)


def test_equal_class_and_context_prompts_leave_only_the_prior() -> None:
    module = head(prompts_per_label=[1], context_prompts=1, prior=0.2)
    logits = module(torch.randn(2, 6, 4, 4), torch.randn(1, 5).expand(2, 5))
    torch.testing.assert_close(torch.sigmoid(logits), torch.full_like(logits, 0.2))


def test_all_parameters_receive_gradient() -> None:
    module = head()
    module(torch.randn(2, 6, 3, 3), torch.randn(6, 5)).square().mean().backward()
    assert {n for n, p in module.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0} == set()


def test_the_scale_is_capped_and_starts_at_clip_s_value() -> None:
    module = head()
    assert module.scale.item() == pytest.approx(1 / 0.07, rel=1e-6)
    with torch.no_grad():
        module.log_scale.fill_(50.0)
    assert module.scale.item() == pytest.approx(100.0, rel=1e-5)


@pytest.mark.parametrize("features", [torch.zeros(1, 6, 2, 2), torch.full((1, 6, 2, 2), 1e20)])
def test_degenerate_features_give_finite_logits_and_gradients(features: torch.Tensor) -> None:
    module = head(context_prompts=0, prompts_per_label=[6])
    features.requires_grad_()
    logits = module(features, torch.zeros(6, 5))
    logits.sum().backward()
    assert logits.isfinite().all()
    assert features.grad is not None
    assert features.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_autocast_changes_nothing_but_the_features(dtype: torch.dtype) -> None:
    module = head()
    features, embeddings = torch.randn(1, 6, 4, 4).to(dtype), torch.randn(6, 5)
    with torch.autocast("cpu", dtype=dtype):
        mixed = module(features, embeddings)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, module(features.float(), embeddings))


def rare_lesion(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (1, 8, 20, 20, 20) with a common offset, as features have after a ReLU, and a lesion of 0.1 %."""
    lesion = torch.zeros(1, 1, 20, 20, 20)
    lesion[..., 8:10, 8:10, 8:10] = 1
    direction = torch.tensor([2.0, -2] * 4).view(1, 8, 1, 1, 1)
    return torch.randn(1, 8, 20, 20, 20, generator=generator) + 2 + lesion * direction, lesion


def auroc(heatmap: torch.Tensor, lesion: torch.Tensor) -> float:
    inside, outside = heatmap[lesion > 0][:, None], heatmap[lesion == 0][None]
    return ((inside > outside).float() + 0.5 * (inside == outside).float()).mean().item()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_heatmap_of_a_rare_lesion_becomes_sharp_where_a_plain_cosine_cannot(seed: int) -> None:
    """On unseen noise, ours passes 0.05 and 0.95 and separates. The sigmoid of a cosine under plain cross-entropy, as
    in the released code, answers "nothing anywhere": it stays in [.26, .30], in lesions as elsewhere."""
    from nnunetv2_textguided.losses.heatmap import heatmap_loss
    from nnunetv2_textguided.losses.targets import MapTarget

    generator = torch.Generator().manual_seed(seed)
    embeddings = F.normalize(torch.randn(6, 5, generator=generator), dim=1)
    (features, lesion), (unseen, truth) = rare_lesion(generator), rare_lesion(generator)
    changes = {"feature_width": 8, "projection_dim": 8}
    ours, plain = (
        head(prompts_per_label=[3], context_prompts=3, **changes),
        head(prompts_per_label=[1], context_prompts=0, **changes),
    )

    def cosine(x: torch.Tensor) -> torch.Tensor:
        image = F.normalize(torch.einsum("bwzyx,dw->bdzyx", x, plain.image_projection.weight), dim=1)
        return torch.einsum("bdzyx,kd->bkzyx", image, F.normalize(plain.text_projection(embeddings[:1]), dim=1))

    target = MapTarget(lesion, torch.ones_like(lesion))
    optimiser = torch.optim.Adam([*ours.parameters(), *plain.parameters()], lr=0.05)
    for _ in range(150):
        optimiser.zero_grad()
        loss = heatmap_loss(ours(features, embeddings), target)
        (loss + F.binary_cross_entropy_with_logits(cosine(features), lesion)).backward()
        optimiser.step()
    with torch.no_grad():
        heatmap, theirs = torch.sigmoid(ours(unseen, embeddings)), torch.sigmoid(cosine(unseen))
    assert heatmap[truth > 0].median() > 0.95
    assert heatmap[truth == 0].quantile(0.99) < 0.05
    assert auroc(heatmap, truth) > 0.99
    assert theirs.min() > 0.26
    assert theirs.max() < 0.3
    assert auroc(theirs, truth) < auroc(heatmap, truth) - 0.01
