"""Anatomy in the text losses: concepts with evidence of their own."""

from __future__ import annotations

import torch

from nnunetv2_textguided.losses.alignment import alignment_loss
from nnunetv2_textguided.losses.guidance import GuidanceLoss
from nnunetv2_textguided.losses.heatmap import heatmap_loss
from nnunetv2_textguided.losses.targets import MapTarget


def guidance(anatomy: tuple[int, ...] = (1, 2), ignore: int | None = None) -> GuidanceLoss:
    loss = GuidanceLoss([1], ignore, anatomy=anatomy)
    loss.lambda_align.fill_(1.0)
    loss.lambda_heat.fill_(1.0)
    return loss


def target(labels: list[int], anatomy: list[int]) -> torch.Tensor:
    """(1, 2, voxels) label map and anatomy."""
    return torch.tensor([[labels, anatomy]], dtype=torch.int16)


def test_a_structure_is_a_label_that_ends_where_lesions_begin() -> None:
    logits = torch.randn(1, 3, 4)
    terms = guidance()(logits, target([1, 0, 0, 0], [1, 1, 2, 0]))
    shares = MapTarget(
        torch.tensor([[[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]]),
        torch.ones(1, 1, 4),
    )
    torch.testing.assert_close(terms.align, alignment_loss(logits, shares))
    torch.testing.assert_close(terms.heat, heatmap_loss(logits, shares))


def test_without_anatomy_nothing_changes() -> None:
    logits, labels = torch.randn(1, 1, 4), torch.tensor([[[1, 0, 0, 0]]])
    plain = GuidanceLoss([1], None)
    plain.lambda_align.fill_(1.0)
    plain.lambda_heat.fill_(1.0)
    torch.testing.assert_close(vars(guidance(())(logits, labels)), vars(plain(logits, labels)))


def test_the_gradient_pulls_each_concept_to_its_own_tissue() -> None:
    logits = torch.zeros(1, 3, 4, requires_grad=True)
    guidance()(logits, target([1, 0, 0, 0], [1, 1, 2, 0])).weighted.backward()
    assert logits.grad is not None
    wanted = torch.tensor([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]) > 0
    assert (logits.grad[0][wanted] < 0).all()
    assert (logits.grad[0][~wanted] > 0).all()


def test_statistics_are_those_of_what_is_segmented() -> None:
    logits = torch.tensor([[[4.0, -4, -4, -4], [9.0, 9, 9, 9]]])
    terms = guidance((1,))(logits, target([1, 0, 0, 0], [0, 0, 0, 0]))
    torch.testing.assert_close(terms.similarity_foreground, torch.sigmoid(torch.tensor(4.0)))
    torch.testing.assert_close(terms.similarity_background, torch.sigmoid(torch.tensor(-4.0)))


def test_a_patch_without_any_anatomy_has_defined_losses() -> None:
    logits = torch.randn(1, 3, 4, requires_grad=True)
    terms = guidance()(logits, target([0] * 4, [0] * 4))
    terms.weighted.backward()
    assert terms.align.item() == 0
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_what_is_ignored_teaches_no_concept() -> None:
    logits = torch.randn(1, 3, 4, requires_grad=True)
    guidance(ignore=2)(logits, target([1, 2, 0, 0], [1, 1, 2, 0])).weighted.backward()
    assert logits.grad is not None
    assert (logits.grad[0, :, 1] == 0).all()
