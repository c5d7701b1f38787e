"""Heatmap loss: supervise the similarity map and suppress spurious activations (paper section II-C)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from nnunetv2_textguided.losses.targets import MapTarget


def heatmap_loss(
    similarity_logits: Tensor, target: MapTarget, dice_weight: float = 1.0, hard_negatives: float = 1.0
) -> Tensor:
    """Class-balanced binary cross-entropy on logits plus soft Dice, averaged over labels.

    Unbalanced cross-entropy learns "nothing anywhere" when a lesion is a thousandth of the patch, so
    foreground and background each count half. A batch without a label's foreground still teaches through the
    background half and the Dice term: that is what suppresses spurious activations.

    Args:
        similarity_logits: (B, C, *s).
        target: the labels on the same grid.
        dice_weight: weight of the Dice term.
        hard_negatives: share of the map's voxels that make up the background half: those of the largest loss, which
            are benign mimics and not the easy rest. 1: all.

    Returns:
        A scalar, at least 0.

    Examples:
        >>> zeros = torch.zeros(1, 1, 8)
        >>> half = MapTarget((torch.arange(8) < 4).float().view(1, 1, 8), torch.ones(1, 1, 8))
        >>> bool(torch.isclose(heatmap_loss(zeros, half, dice_weight=0.0), torch.log(torch.tensor(2.0))))
        True
    """
    logits = similarity_logits.float().transpose(0, 1).flatten(1)
    foreground = target.foreground.transpose(0, 1).flatten(1)
    background = target.background.transpose(0, 1).flatten(1)
    spurious, doubt = F.softplus(logits), background
    if hard_negatives < 1:
        # A fixed number of voxels: shapes that depend on the data would break CUDA graphs.
        hardest = torch.topk(
            spurious.detach() * background, max(1, round(hard_negatives * logits.shape[1])), sorted=False
        )
        spurious, doubt = spurious.gather(1, hardest.indices), background.gather(1, hardest.indices)
    balanced = 0.5 * (_weighted_mean(F.softplus(-logits), foreground) + _weighted_mean(spurious, doubt))
    return (balanced + dice_weight * soft_dice_loss(torch.sigmoid(logits), foreground, background)).mean()


def _weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Mean over axis 1, 0 where all weights are 0."""
    mass = weights.sum(dim=1)
    return (values * weights).sum(dim=1) / torch.where(mass > 0, mass, 1.0)


def soft_dice_loss(heatmap: Tensor, foreground: Tensor, background: Tensor, smooth: float = 1.0) -> Tensor:
    """1 - soft Dice over axis 1; `smooth` (in map voxels) makes an empty label ask for an empty map.

    Args:
        heatmap: (C, N) probabilities.
        foreground: (C, N) shares of the map's voxels that carry the label.
        background: (C, N) shares that are known not to carry it.
    """
    overlap = (heatmap * foreground).sum(dim=1)
    total = foreground.sum(dim=1) + (heatmap * (foreground + background)).sum(dim=1)
    return 1 - (2 * overlap + smooth) / (total + smooth)
