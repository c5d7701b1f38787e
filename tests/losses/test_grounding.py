"""The grounding loss: perfect maps, gradients, unknown anatomy, what phrases name."""

from __future__ import annotations

import torch
from torch import Tensor

from nnunetv2_textguided.anatomy.sectors import ATTRIBUTES, SECTORS, Sector
from nnunetv2_textguided.losses.grounding import grounding_loss, sector_shares

K = len(SECTORS)
MAP = torch.tensor([[0, 1, 1, 2], [3, 0, 30, -1]]).view(1, 1, 2, 4)
PHRASES = (Sector(side="left"), Sector("peripheral zone", level="apex"))
MEMBERS = torch.tensor([[float(phrase.contains(sector)) for sector in SECTORS] for phrase in PHRASES])
NAMED = torch.tensor([[1.0, 1, 0, 1, 1, 1, 1, 1, 1], [1, 0, 1, 1, 1, 0, 0, 1, 1]])
"""By zone (2), side (2), level (3) and depth (2); what is not said is open."""
SURE = 40 * (2 * NAMED - 1)


def perfect() -> Tensor:
    shares = sector_shares(MAP, (2, 4), K).foreground
    return 40 * torch.cat([1 - shares.sum(1, keepdim=True), shares], dim=1)


def test_sectors_are_shares_of_cells_and_other_values_are_none() -> None:
    shares = sector_shares(MAP, (2, 4), K)
    assert shares.foreground[0, :3].tolist() == [
        [[0, 1, 1, 0], [0, 0, 0, 0]],
        [[0, 0, 0, 1], [0, 0, 0, 0]],
        [[0, 0, 0, 0], [1, 0, 0, 0]],
    ]
    assert shares.foreground[0, 3:].sum() == 0
    assert sector_shares(MAP, (1, 2), K).foreground[0, 0].tolist() == [[0.25, 0.25]]


def test_what_is_perfect_costs_nothing_and_its_opposite_much() -> None:
    assert grounding_loss(perfect(), SURE, MAP, MEMBERS) < 1e-4
    assert grounding_loss(-perfect(), SURE, MAP, MEMBERS) > 1
    assert grounding_loss(perfect(), -SURE, MAP, MEMBERS) > 10


def test_each_sector_has_one_zone_side_level_and_depth() -> None:
    table = torch.tensor(ATTRIBUTES)
    assert table.shape == (9, K)
    assert [part.sum(0).tolist() for part in table.split([2, 2, 3, 2])] == [[1] * K] * 4


def test_gradients_raise_the_place_and_lower_the_rest_also_where_the_network_is_wrong_and_sure() -> None:
    for logits in (torch.zeros(1, 1 + K, 2, 4), -0.5 * perfect()):
        logits.requires_grad_(True)
        grounding_loss(logits, SURE, MAP, MEMBERS).backward()
        inside = sector_shares(MAP, (2, 4), K).foreground.bool()
        assert logits.grad is not None
        assert logits.grad.isfinite().all()
        assert (logits.grad[:, 1:][inside] < 0).all()
        assert (logits.grad[:, :1][~inside.any(1, keepdim=True)] < 0).all()


def test_gradients_make_a_phrase_name_its_place() -> None:
    attributes = torch.zeros(2, 9, requires_grad=True)
    grounding_loss(perfect(), attributes, MAP, MEMBERS).backward()
    assert attributes.grad is not None
    assert torch.equal(attributes.grad < 0, NAMED > 0)


def test_a_lesion_in_a_hole_of_the_zones_is_in_an_unknown_place() -> None:
    labels = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0]]).view(1, 1, 2, 4)
    logits = torch.zeros(1, 1 + K, 2, 4, requires_grad=True)
    grounding_loss(logits, SURE, MAP, MEMBERS, labels=labels).backward()
    assert logits.grad is not None
    assert logits.grad[0, :, 0, 0].abs().sum() == 0  # a lesion where no sector is
    assert logits.grad[0, 1, 0, 1] < 0  # a lesion in a sector
    assert logits.grad[0, 0, 1, 1] < 0  # no lesion, and no sector


def test_a_case_without_zones_teaches_nothing_of_places() -> None:
    logits = torch.randn(2, 1 + K, 2, 4, requires_grad=True)
    grounding_loss(logits, SURE, torch.cat([MAP, torch.zeros_like(MAP)]), MEMBERS).backward()
    assert logits.grad is not None
    assert logits.grad[0].abs().sum() > 0
    assert logits.grad[1].abs().sum() == 0
    nothing = torch.randn(1, 1 + K, 2, 4, requires_grad=True)
    grounding_loss(nothing, SURE, torch.zeros_like(MAP), MEMBERS).backward()
    assert nothing.grad is not None
    assert nothing.grad.abs().sum() == 0
