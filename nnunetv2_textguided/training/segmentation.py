"""The trainer's segmentation loss: nnU-Net's own, or the settings' compound in its place."""

from __future__ import annotations

from typing import Any

from torch import nn

from nnunetv2_textguided.losses.segmentation import SegmentationLoss
from nnunetv2_textguided.nnunet.plans import LabelManager
from nnunetv2_textguided.settings import SegmentationLossSettings


def segmentation_loss(
    stock: Any, chosen: SegmentationLossSettings, manager: LabelManager, batch_dice: bool, deep_supervision: bool
) -> nn.Module:
    """nnU-Net's loss, or the settings' compound inside nnU-Net's deep supervision.

    Args:
        stock: what nnUNetTrainer builds; with deep supervision, its wrapper.
        chosen: the settings.
        manager: the data set's labels.
        batch_dice: Dice over the batch instead of over each sample.
        deep_supervision: whether `stock` is the wrapper.
    """
    if deep_supervision and len(stock.weight_factors) == 1:
        # nnU-Net gives the coarsest output weight 0 and divides by the sum: NaN where images of a few voxels leave
        # room for only one output.
        stock.weight_factors = (1.0,)
    if (chosen.region, chosen.voxel) == ("dice", "ce"):
        own: nn.Module = stock
        return own
    loss = SegmentationLoss(chosen, manager.has_regions, manager.ignore_label, batch_dice)
    if not deep_supervision:
        return loss
    stock.loss = loss
    wrapped: nn.Module = stock
    return wrapped
