"""Soft Tversky losses: Dice, Tversky and focal Tversky in one family."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TverskyLoss(nn.Module):
    """Mean over foreground classes of (1 - TI)^gamma, TI = TP / (TP + alpha FP + beta FN).

    alpha = beta = 0.5 with gamma = 1 is soft Dice; gamma > 1 is the focal variant in which badly segmented classes
    dominate (Salehi et al. 2017; Abraham and Khan 2019; the paper uses alpha 0.3, beta 0.7, gamma 1.5). No one-hot
    volume is built.

    Args:
        alpha: weight of false positives.
        beta: weight of false negatives.
        gamma: focal exponent.
        batch: pool the counts over the batch (nnU-Net's batch_dice) instead of averaging over samples.
        regions: targets are region masks and probabilities are sigmoids.
        smooth: added to numerator and denominator, in voxels.

    Examples:
        >>> logits = torch.tensor([[[-20.0, 20.0]], [[20.0, -20.0]]]).transpose(0, 1)
        >>> bool(TverskyLoss()(logits, torch.tensor([[[1, 0]]])) < 1e-4)
        True
    """

    def __init__(
        self,
        alpha: float = 0.5,
        beta: float = 0.5,
        gamma: float = 1.0,
        batch: bool = False,
        regions: bool = False,
        smooth: float = 1e-5,
    ) -> None:
        super().__init__()
        self.alpha, self.beta, self.gamma = alpha, beta, gamma
        self.batch, self.regions, self.smooth = batch, regions, smooth

    def forward(self, logits: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
        """Loss of (B, O, *S) logits.

        Args:
            logits: class logits, background first, or region logits.
            target: (B, 1, *S) labels, ignored voxels set to 0; or (B, O, *S) region masks.
            valid: (B, 1, *S) bool, False where the label is ignored.
        """
        logits = logits.float().flatten(2)
        probabilities = torch.sigmoid(logits) if self.regions else torch.softmax(logits, dim=1)[:, 1:]
        if valid is not None:
            probabilities = probabilities * valid.flatten(2)
        target = target.flatten(2)
        indices = []
        for foreground in range(probabilities.shape[1]):
            mask = target[:, foreground].bool() if self.regions else target[:, 0] == foreground + 1
            if valid is not None:
                mask = mask & valid.flatten(2)[:, 0]
            indices.append(self._index(probabilities[:, foreground], mask))
        return (1 - torch.stack(indices)).clamp(min=0).pow(self.gamma).mean()

    def _index(self, probability: Tensor, mask: Tensor) -> Tensor:
        """Tversky index of (B, V) probabilities and mask: (B,), or (1,) pooled over the batch."""
        overlap = (probability * mask).sum(dim=1)
        claimed, present = probability.sum(dim=1), mask.sum(dim=1)
        if self.batch:
            overlap, claimed, present = (x.sum(dim=0, keepdim=True) for x in (overlap, claimed, present))
        misses = self.alpha * (claimed - overlap) + self.beta * (present - overlap)
        return (overlap + self.smooth) / (overlap + misses + self.smooth)
