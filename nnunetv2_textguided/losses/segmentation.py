"""The segmentation loss that the settings name: a region term plus a voxel term."""

from __future__ import annotations

from torch import Tensor, nn

from nnunetv2_textguided.losses.region import TverskyLoss
from nnunetv2_textguided.losses.voxel import VoxelLoss
from nnunetv2_textguided.settings import SegmentationLossSettings


class SegmentationLoss(nn.Module):
    """Sum of a region term and a voxel term on one output, as nnU-Net's compound losses are.

    Args:
        settings: which terms, and their parameters.
        regions: region-based training.
        ignore_label: the value of the ignore label; None: there is none.
        batch_dice: pool region counts over the batch (the plans' batch_dice).
    """

    def __init__(
        self, settings: SegmentationLossSettings, regions: bool, ignore_label: int | None, batch_dice: bool
    ) -> None:
        super().__init__()
        self.regions, self.ignore_label = regions, ignore_label
        self.terms = nn.ModuleList()
        if settings.region != "none":
            dice = settings.region == "dice"
            self.terms.append(
                TverskyLoss(
                    alpha=0.5 if dice else settings.tversky_alpha,
                    beta=0.5 if dice else settings.tversky_beta,
                    gamma=settings.focal_tversky_gamma if settings.region == "focal_tversky" else 1.0,
                    batch=batch_dice,
                    regions=regions,
                )
            )
        if settings.voxel != "none":
            self.terms.append(
                VoxelLoss(
                    settings.voxel, settings.topk_percent, settings.focal_gamma, settings.label_smoothing, regions
                )
            )

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of logits against labels or regions.

        Args:
            logits: (B, O, *S).
            target: (B, 1, *S) labels, or (B, O [+ 1 for ignore], *S) region masks.
        """
        valid = None
        if self.ignore_label is not None:
            if self.regions:
                valid, target = target[:, -1:] < 0.5, target[:, :-1]
            else:
                valid = target != self.ignore_label
                target = target * valid
        return sum((term(logits, target, valid) for term in self.terms), start=logits.new_zeros(()))
