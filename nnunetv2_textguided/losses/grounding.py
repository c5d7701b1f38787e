"""Grounding loss: phrases are where anatomy says that they are (docs/case_text.md)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nnunetv2_textguided.losses.heatmap import heatmap_loss
from nnunetv2_textguided.losses.targets import MapTarget, map_target


def grounding_loss(
    logits: Tensor, sectors: Tensor, members: Tensor, dice_weight: float = 1.0, labels: Tensor | None = None
) -> Tensor:
    """Class-balanced binary cross-entropy plus soft Dice of grounding logits against sectors, averaged over phrases.

    A sample without any sector teaches nothing: its zones may be unknown, or outside of the patch.

    Args:
        logits: (B, P, *s) grounding logits of the phrases.
        sectors: (B, 1, *S) map of sectors, 1 to K; other values are no sector.
        members: (P, K), 1 where sector k + 1 belongs to the phrase's place, else 0.
        dice_weight: weight of the Dice term.
        labels: (B, 1, *S) label map; None: nothing is segmented.

    Returns:
        A scalar, at least 0.
    """
    # float32 also under autocast: sums over a volume overflow half precision.
    with torch.autocast(logits.device.type, enabled=False):
        return heatmap_loss(logits.float(), place_shares(sectors, logits.shape[2:], members, labels), dice_weight)


@torch.no_grad()
def place_shares(sectors: Tensor, grid: Sequence[int], members: Tensor, labels: Tensor | None = None) -> MapTarget:
    """The places of phrases as shares of the cells of a map.

    What is segmented and has no sector is in an unknown one: many zone masks have holes where lesions are, and a map
    that learned these holes would say that a phrase is anywhere but at a lesion.

    Args:
        sectors: (B, 1, *S) map of sectors.
        grid: *s, the map's.
        members: (P, K) which sectors belong to each phrase's place.
        labels: (B, 1, *S) label map.
    """
    shares = map_target(sectors, grid, range(1, members.shape[1] + 1), None).foreground
    places = torch.einsum("bk...,pk->bp...", shares, members.to(shares.dtype))
    known = shares.flatten(1).any(dim=1).to(shares.dtype)
    valid = known.view(-1, *(1,) * (shares.ndim - 1)).expand(-1, 1, *shares.shape[2:])
    if labels is not None:
        holes = (labels > 0) & ((sectors < 1) | (sectors > members.shape[1]))
        valid = valid * (1 - map_target(holes, grid, (1,), None).foreground)
    return MapTarget(places, valid)
