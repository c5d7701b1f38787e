"""Voxel losses: cross-entropy, its top-k and its focal variant, with ignored voxels."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class VoxelLoss(nn.Module):
    """Cross-entropy over voxels (binary cross-entropy for regions).

    Args:
        reduction: "ce" averages over valid voxels; "topk" over the hardest `topk_percent` of them, so that the many
            easy background voxels do not drown the lesion; "focal" weighs each voxel by (1 - p)^`focal_gamma`.
        topk_percent: share of voxels for "topk".
        focal_gamma: exponent for "focal" (Lin et al. 2017); 0 is cross-entropy.
        label_smoothing: label smoothing.
        regions: targets are region masks.
    """

    def __init__(
        self,
        reduction: Literal["ce", "topk", "focal"] = "ce",
        topk_percent: float = 10.0,
        focal_gamma: float = 2.0,
        label_smoothing: float = 0.0,
        regions: bool = False,
    ) -> None:
        super().__init__()
        self.reduction, self.topk_percent, self.focal_gamma = reduction, topk_percent, focal_gamma
        self.label_smoothing, self.regions = label_smoothing, regions

    def forward(self, logits: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
        """Loss of (B, O, *S) logits; 0 with zero gradients where no voxel is valid.

        Args:
            logits: (B, O, *S) class logits, background first, or region logits.
            target: (B, 1, *S) labels, ignored voxels set to 0; or (B, O, *S) region masks.
            valid: (B, 1, *S) bool, False where the label is ignored.
        """
        losses = self._per_voxel(logits.float(), target)
        weight = torch.ones_like(losses) if valid is None else valid.expand_as(losses).flatten().float()
        if valid is None:
            weight = weight.flatten()
        losses = losses.flatten() * weight
        count = weight.sum()
        if self.reduction == "topk":
            kept = max(1, int(losses.numel() * self.topk_percent / 100))
            losses = torch.topk(losses, kept, sorted=False).values
            # A share of the valid voxels cannot be more of them than there are.
            count = count.clamp(max=kept)
        return losses.sum() / count.clamp(min=1)

    def _per_voxel(self, logits: Tensor, target: Tensor) -> Tensor:
        """(B, 1 or O, *S) cross-entropy, focal weight included."""
        if self.regions:
            truth = target.float()
            smoothed = truth * (1 - self.label_smoothing) + 0.5 * self.label_smoothing
            losses = F.binary_cross_entropy_with_logits(logits, smoothed, reduction="none")
            certainty = torch.sigmoid(torch.where(truth > 0.5, logits, -logits))
        else:
            labels = target[:, 0].long()
            losses = F.cross_entropy(logits, labels, reduction="none", label_smoothing=self.label_smoothing)[:, None]
            certainty = None
            if self.reduction == "focal":
                certainty = torch.softmax(logits, dim=1).gather(1, labels[:, None])
        if self.reduction == "focal" and certainty is not None:
            losses = losses * (1 - certainty).clamp(min=0).pow(self.focal_gamma)
        return losses
