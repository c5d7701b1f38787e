"""Alignment loss: raise the text-image similarity on the foreground (paper section II-B)."""

from __future__ import annotations

import torch
from torch import Tensor

from nnunetv2_textguided.losses.targets import MapTarget


def alignment_loss(similarity_logits: Tensor, target: MapTarget) -> Tensor:
    """Mean over (sample, label) pairs that have foreground of 1 - sum(y H) / sum(y), with H = sigmoid(logits).

    Pairs are averaged, not voxels, so that a large lesion does not outweigh a small one. Without any foreground the
    loss is exactly 0, with zero gradients (not undefined ones), and does not enter any mean as a constant 1.

    Args:
        similarity_logits: (B, C, *s).
        target: the labels on the same grid.

    Returns:
        A scalar in [0, 1].

    Examples:
        >>> logits = torch.full((1, 1, 4), 9.0)
        >>> full = MapTarget(torch.ones(1, 1, 4), torch.ones(1, 1, 4))
        >>> bool(torch.isclose(alignment_loss(logits, full), 1 - torch.sigmoid(logits[0, 0, 0])))
        True
    """
    heatmap = torch.sigmoid(similarity_logits.float()).flatten(2)
    foreground = target.foreground.flatten(2)
    mass = foreground.sum(dim=2)
    present = mass > 0
    similarity = (foreground * heatmap).sum(dim=2) / torch.where(present, mass, 1.0)
    missing = torch.where(present, 1 - similarity, torch.zeros_like(similarity))
    return missing.sum() / present.sum().clamp(min=1)
