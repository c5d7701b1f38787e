"""The grounding loss: perfect maps, gradients, unknown anatomy, unions of sectors."""

from __future__ import annotations

import torch

from nnunetv2_textguided.losses.grounding import grounding_loss, place_shares

SECTORS = torch.tensor([[0, 1, 1, 2], [3, 0, 30, -1]]).view(1, 1, 2, 4)
MEMBERS = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])


def test_a_phrase_is_the_union_of_its_sectors_and_other_values_are_none() -> None:
    shares = place_shares(SECTORS, (2, 4), MEMBERS)
    assert shares.foreground[0].tolist() == [
        [[0, 1, 1, 0], [0, 0, 0, 0]],
        [[0, 1, 1, 1], [0, 0, 0, 0]],
        [[0, 0, 0, 0], [1, 0, 0, 0]],
    ]
    assert place_shares(SECTORS, (1, 2), MEMBERS).foreground[0, 1].tolist() == [[0.25, 0.5]]


def test_a_perfect_map_costs_nothing_and_its_opposite_much() -> None:
    perfect = 40 * (2 * place_shares(SECTORS, (2, 4), MEMBERS).foreground - 1)
    assert grounding_loss(perfect, SECTORS, MEMBERS) < 1e-6
    assert grounding_loss(-perfect, SECTORS, MEMBERS) > 10


def test_gradients_raise_the_place_and_lower_the_rest() -> None:
    logits = torch.zeros(1, 3, 2, 4, requires_grad=True)
    grounding_loss(logits, SECTORS, MEMBERS).backward()
    inside = place_shares(SECTORS, (2, 4), MEMBERS).foreground.bool()
    assert logits.grad is not None
    assert (logits.grad[inside] < 0).all()
    assert (logits.grad[~inside] > 0).all()


def test_a_lesion_in_a_hole_of_the_zones_is_in_an_unknown_place() -> None:
    labels = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0]]).view(1, 1, 2, 4)
    logits = torch.zeros(1, 3, 2, 4, requires_grad=True)
    grounding_loss(logits, SECTORS, MEMBERS, labels=labels).backward()
    assert logits.grad is not None
    assert logits.grad[0, :, 0, 0].tolist() == [0, 0, 0]  # a lesion where no sector is
    assert (logits.grad[0, :2, 0, 1] < 0).all()  # a lesion in a sector
    assert (logits.grad[0, :, 1, 1] > 0).all()  # no lesion, and no sector


def test_a_case_without_zones_teaches_nothing() -> None:
    logits = torch.randn(2, 3, 2, 4, requires_grad=True)
    grounding_loss(logits, torch.cat([SECTORS, torch.zeros_like(SECTORS)]), MEMBERS).backward()
    assert logits.grad is not None
    assert logits.grad[0].abs().sum() > 0
    assert logits.grad[1].abs().sum() == 0
    nothing = torch.randn(1, 3, 2, 4, requires_grad=True)
    grounding_loss(nothing, torch.zeros_like(SECTORS), MEMBERS).backward()
    assert nothing.grad is not None
    assert nothing.grad.abs().sum() == 0
