"""Alignment loss, heatmap loss and their weighted sum."""

from __future__ import annotations

import math

import pytest
import torch

from nnunetv2_textguided.losses.alignment import alignment_loss
from nnunetv2_textguided.losses.guidance import GuidanceLoss
from nnunetv2_textguided.losses.heatmap import heatmap_loss
from nnunetv2_textguided.losses.targets import MapTarget, map_target


def target(*masks: list[float]) -> MapTarget:
    """One sample per mask, one label."""
    foreground = torch.tensor(masks)[:, None]
    return MapTarget(foreground, torch.ones_like(foreground))


def test_alignment_is_one_minus_the_mean_similarity_of_each_lesion() -> None:
    logits = torch.tensor([[[1.0, 2.0, -1.0, 0.0]], [[0.5, 0.0, 0.0, 0.0]]])
    truth = target([1, 1, 0, 0], [1, 0, 0, 0])
    similarity = torch.sigmoid(logits)
    expected = 1 - (similarity[0, 0, :2].mean() + similarity[1, 0, 0]) / 2
    torch.testing.assert_close(alignment_loss(logits, truth), expected)


def test_a_large_lesion_does_not_outweigh_a_small_one() -> None:
    logits = torch.tensor([[[5.0] * 8], [[-5.0] * 8]])
    small, large = target([1] * 8, [1] + [0] * 7), target([1] + [0] * 7, [1] * 8)
    torch.testing.assert_close(alignment_loss(logits, small), alignment_loss(logits, large))


def test_alignment_without_foreground_is_zero_with_zero_gradient() -> None:
    logits = torch.randn(2, 1, 4, requires_grad=True)
    loss = alignment_loss(logits, target([0] * 4, [0] * 4))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


def test_samples_without_foreground_do_not_dilute_alignment() -> None:
    logits = torch.randn(2, 1, 4)
    both = alignment_loss(logits, target([1, 0, 0, 0], [0] * 4))
    torch.testing.assert_close(both, alignment_loss(logits[:1], target([1, 0, 0, 0])))


def test_alignment_pulls_foreground_up_and_leaves_background_alone() -> None:
    logits = torch.zeros(1, 1, 4, requires_grad=True)
    alignment_loss(logits, target([1, 0, 0, 0])).backward()
    assert logits.grad is not None
    assert logits.grad[0, 0, 0] < 0
    assert (logits.grad[0, 0, 1:] == 0).all()


def test_heatmap_cross_entropy_of_an_undecided_map_is_log_two_at_any_prevalence() -> None:
    for lesion in ([1, 0, 0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0, 0]):
        loss = heatmap_loss(torch.zeros(1, 1, 8), target(lesion), dice_weight=0.0)
        assert loss.item() == pytest.approx(math.log(2))


def test_a_perfect_heatmap_has_no_loss() -> None:
    truth = target([1, 1, 0, 0])
    assert heatmap_loss(40 * (truth.foreground - 0.5), truth).item() == pytest.approx(0, abs=1e-4)


def test_heatmap_on_background_suppresses_activations_with_finite_gradients() -> None:
    logits = torch.full((2, 1, 4), 2.0, requires_grad=True)
    loss = heatmap_loss(logits, target([0] * 4, [0] * 4))
    loss.backward()
    assert loss > 0
    assert logits.grad is not None
    assert (logits.grad > 0).all()
    assert logits.grad.isfinite().all()


def test_heatmap_ignores_what_is_ignored() -> None:
    truth = MapTarget(torch.tensor([[[1.0, 0, 0, 0]]]), torch.tensor([[[1.0, 1, 0, 0]]]))
    logits = torch.tensor([[[1.0, -1.0, 0.3, 7.0]]])
    other = torch.tensor([[[1.0, -1.0, 9.0, -7.0]]])
    torch.testing.assert_close(heatmap_loss(logits, truth), heatmap_loss(other, truth))


def test_all_negatives_are_the_loss_without_a_choice() -> None:
    logits, truth = torch.randn(2, 1, 8), target([1] + [0] * 7, [0] * 8)
    torch.testing.assert_close(heatmap_loss(logits, truth, hard_negatives=1.0), heatmap_loss(logits, truth))


def test_hard_negatives_are_the_most_falsely_activated_voxels() -> None:
    logits = torch.tensor([[[3.0, -4.0, 2.0, -1.0, 0.0, -2.0, -3.0, -5.0]]], requires_grad=True)
    # 3.0 is a lesion, and right; of eight voxels a quarter is two: those at 2.0 and 0.0.
    loss = heatmap_loss(logits, target([1] + [0] * 7), dice_weight=0.0, hard_negatives=0.25)
    hard = torch.nn.functional.softplus(torch.tensor([2.0, 0.0])).mean()
    expected = 0.5 * (torch.nn.functional.softplus(torch.tensor(-3.0)) + hard)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert logits.grad is not None
    assert logits.grad.nonzero()[:, 2].tolist() == [0, 2, 4]


@pytest.mark.parametrize("mask", [[1] * 8, [0] * 8])
def test_hard_negatives_exist_where_everything_or_nothing_is_foreground(mask: list[float]) -> None:
    logits = torch.randn(1, 1, 8, requires_grad=True)
    loss = heatmap_loss(logits, target(mask), hard_negatives=0.01)
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("value", [-1e4, 1e4])
def test_extreme_logits_stay_finite(value: float) -> None:
    logits = torch.full((1, 1, 4), value, requires_grad=True)
    truth = target([1, 0, 0, 0])
    (heatmap_loss(logits, truth) + alignment_loss(logits, truth)).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_guidance_is_the_weighted_sum_and_logs_both_terms() -> None:
    loss = GuidanceLoss([1], None)
    loss.lambda_align.fill_(0.2)
    loss.lambda_heat.fill_(0.5)
    logits, labels = torch.randn(2, 1, 2, 4, 4), torch.randint(0, 2, (2, 1, 2, 8, 8))
    terms = loss(logits, labels)
    torch.testing.assert_close(terms.weighted, 0.2 * terms.align + 0.5 * terms.heat)
    shares = map_target(labels, (2, 4, 4), [1], None)
    torch.testing.assert_close(terms.align, alignment_loss(logits, shares))
    heatmap = torch.sigmoid(logits)
    expected = (heatmap * shares.foreground).sum() / shares.foreground.sum()
    torch.testing.assert_close(terms.similarity_foreground, expected)


def test_zero_weights_still_reach_every_parameter() -> None:
    logits = torch.randn(1, 1, 2, 2, requires_grad=True)
    GuidanceLoss([1], None)(logits, torch.ones(1, 1, 4, 4)).weighted.backward()
    assert logits.grad is not None
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("labels", [torch.zeros(2, 1, 4, 4), torch.full((2, 1, 4, 4), 2.0)])
def test_background_only_and_ignored_only_batches_are_finite(labels: torch.Tensor) -> None:
    loss = GuidanceLoss([1], ignore_label=2)
    loss.lambda_align.fill_(1.0)
    loss.lambda_heat.fill_(1.0)
    logits = torch.randn(2, 1, 2, 2, requires_grad=True)
    terms = loss(logits, labels)
    terms.weighted.backward()
    assert terms.weighted.isfinite()
    assert terms.similarity_foreground.isnan()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_the_losses_do_not_synchronise_with_the_host() -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    class NoSync(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            assert func not in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default), func
            return func(*args, **(kwargs or {}))

    loss = GuidanceLoss([1], ignore_label=2)
    with NoSync():
        loss(torch.randn(2, 1, 2, 2), torch.zeros(2, 1, 4, 4))
