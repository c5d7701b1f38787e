"""Grounding loss: voxels are in the sectors of their anatomy, phrases name those of a place (docs/case_text.md)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from nnunetv2_textguided.anatomy.sectors import ATTRIBUTES
from nnunetv2_textguided.losses.heatmap import soft_dice_loss
from nnunetv2_textguided.losses.targets import MapTarget, map_target


def grounding_loss(
    places: Tensor,
    attributes: Tensor,
    sectors: Tensor,
    members: Tensor,
    dice_weight: float = 1.0,
    labels: Tensor | None = None,
) -> Tensor:
    """Loss of the image's part, over sectors, plus that of the words', over phrases.

    Of the image: cross-entropy of each cell's sector or elsewhere, plus soft Dice of each sector's probability. A class
    counts by the square root of its cells: by their number, the network would never name a small sector; by none, it
    would name all of them too often, and a place of several sectors would be found far beyond its border. A sample
    without any sector teaches nothing: its zones may be unknown, or outside of the patch. Of the words: binary
    cross-entropy of what each phrase names or leaves open, added up over the nine names, each a question of its own.

    Args:
        places: (B, 1 + K, *s) logits of elsewhere and of each sector.
        attributes: (P, A) logits.
        sectors: (B, 1, *S) map of sectors, 1 to K; other values are no sector.
        members: (P, K), 1 where sector k + 1 belongs to the phrase's place, else 0.
        dice_weight: weight of the Dice term.
        labels: (B, 1, *S) label map; None: nothing is segmented.

    Returns:
        A scalar, at least 0.
    """
    # float32 also under autocast: sums over a volume overflow half precision.
    with torch.autocast(places.device.type, enabled=False):
        shares = sector_shares(sectors, places.shape[2:], members.shape[1], labels)
        image = _places_loss(places.float().log_softmax(dim=1), shares, dice_weight)
        named = members @ members.new_tensor(ATTRIBUTES).T > 0
        words = F.binary_cross_entropy_with_logits(attributes.float(), named.float(), reduction="none")
        return image + words.sum(dim=1).mean()


def _places_loss(log_probability: Tensor, shares: MapTarget, dice_weight: float) -> Tensor:
    """Of (B, 1 + K, *s) log-probabilities of elsewhere and of each sector."""
    inside = shares.foreground * shares.valid
    target = torch.cat([shares.valid - inside.sum(dim=1, keepdim=True), inside], dim=1)
    cells, cost = (_of_each(target, part) for part in (torch.ones_like(target), -log_probability))
    # At least one cell: the inverse root has no bound at zero.
    weight = cells.clamp(min=1) ** -0.5
    entropy = (weight * cost).sum() / (weight * cells).sum().clamp(min=1e-6)
    maps = log_probability[:, 1:].exp(), inside, shares.valid - inside
    probability, foreground, background = (part.transpose(0, 1).flatten(1) for part in maps)
    return entropy + dice_weight * soft_dice_loss(probability, foreground, background).mean()


def _of_each(weights: Tensor, values: Tensor) -> Tensor:
    """(C,) weighted sums of (B, C, *s) values."""
    return (weights * values).transpose(0, 1).flatten(1).sum(dim=1)


@torch.no_grad()
def sector_shares(sectors: Tensor, grid: Sequence[int], number: int, labels: Tensor | None = None) -> MapTarget:
    """Sectors as shares of the cells of a map.

    What is segmented and has no sector is in an unknown one: many zone masks have holes where lesions are, and a map
    that learned these holes would say that a phrase is anywhere but at a lesion.

    Args:
        sectors: (B, 1, *S) map of sectors.
        grid: *s, the map's.
        number: K, how many sectors there are.
        labels: (B, 1, *S) label map.
    """
    shares = map_target(sectors, grid, range(1, number + 1), None).foreground
    known = shares.flatten(1).any(dim=1).to(shares.dtype)
    valid = known.view(-1, *(1,) * (shares.ndim - 1)).expand(-1, 1, *shares.shape[2:])
    if labels is not None:
        holes = (labels > 0) & ((sectors < 1) | (sectors > number))
        valid = valid * (1 - map_target(holes, grid, (1,), None).foreground)
    return MapTarget(shares, valid)
