"""nnU-Net's own segmentation loss and deep supervision."""

from __future__ import annotations

from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from torch import nn


def stock_loss(regions: bool) -> nn.Module:
    """Dice with cross-entropy (binary for regions) as nnU-Net's trainer builds it, without an ignore label."""
    dice = {"batch_dice": False, "smooth": 1e-5, "do_bg": regions, "ddp": False}
    loss: nn.Module
    if regions:
        loss = DC_and_BCE_loss({}, dice, dice_class=MemoryEfficientSoftDiceLoss)
    else:
        loss = DC_and_CE_loss(dice, {}, dice_class=MemoryEfficientSoftDiceLoss)
    return loss


def deep_supervision(loss: nn.Module, outputs: int) -> nn.Module:
    """The loss over several outputs with nnU-Net's weights: halved with every resolution, the lowest one unused."""
    wrapped: nn.Module = DeepSupervisionWrapper(loss, [0.5**i for i in range(outputs - 1)] + [0.0])
    return wrapped
