"""Both text losses with their scheduled weights, and the similarity statistics that are logged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nnunetv2_textguided.losses.alignment import alignment_loss
from nnunetv2_textguided.losses.heatmap import heatmap_loss
from nnunetv2_textguided.losses.targets import MapTarget, map_target


@dataclass(frozen=True)
class GuidanceTerms:
    """One step's text losses. All scalars.

    Attributes:
        weighted: lambda_align * align + lambda_heat * heat, the only one with a gradient.
        align: alignment loss.
        heat: heatmap loss.
        similarity_foreground: mean heatmap value over the foreground; NaN where there is none.
        similarity_background: mean heatmap value over the background; NaN where there is none.
    """

    weighted: Tensor
    align: Tensor
    heat: Tensor
    similarity_foreground: Tensor
    similarity_background: Tensor


class GuidanceLoss(nn.Module):
    """lambda_align * L_align + lambda_heat * L_heat (docs/method.md, Losses).

    The weights are tensors: under DDP every parameter takes part in every step, also where a weight is 0.

    Args:
        labels: the label value of each class; None for regions.
        ignore_label: the value of the ignore label; None: there is none.
        dice_weight: weight of the Dice term of the heatmap loss.
        hard_negatives: share of background voxels that the heatmap loss looks at.
        anatomy: values of the anatomical structures, whose similarities follow those of the labels.
        codes: (256,) the anatomical value that each value of the anatomical map stands for; None: they are the same.
    """

    codes: Tensor | None
    lambda_align: Tensor
    lambda_heat: Tensor

    def __init__(
        self,
        labels: Sequence[int] | None,
        ignore_label: int | None,
        dice_weight: float = 1.0,
        hard_negatives: float = 1.0,
        anatomy: Sequence[int] = (),
        codes: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("codes", codes)
        self.labels, self.ignore_label, self.anatomy = labels, ignore_label, tuple(anatomy)
        self.dice_weight, self.hard_negatives = dice_weight, hard_negatives
        self.register_buffer("lambda_align", torch.zeros(()))
        self.register_buffer("lambda_heat", torch.zeros(()))

    def forward(self, similarity_logits: Tensor, target: Tensor) -> GuidanceTerms:
        """Losses of (B, C, *s) similarity logits against a full-resolution target.

        Args:
            similarity_logits: (B, C, *s) of the labels, then of the anatomical structures.
            target: as in targets.map_target; with anatomy (B, 2, *S), the label map and the anatomical one.
        """
        # float32 also under autocast: sums over a volume overflow half precision.
        with torch.autocast(similarity_logits.device.type, enabled=False):
            logits = similarity_logits.float()
            shares = self.shares(target, logits.shape[2:])
            align = alignment_loss(logits, shares)
            heat = heatmap_loss(logits, shares, self.dice_weight, self.hard_negatives)
            weighted = self.lambda_align * align + self.lambda_heat * heat
        segmented = logits.shape[1] - len(self.anatomy)
        lesions = MapTarget(shares.foreground[:, :segmented], shares.valid)
        inside, outside = similarity_statistics(logits[:, :segmented], lesions)
        return GuidanceTerms(weighted, align.detach(), heat.detach(), inside, outside)

    def shares(self, target: Tensor, grid: Sequence[int]) -> MapTarget:
        """The labels, then the anatomical structures, on a map's grid; `target` as in `forward`."""
        if self.labels is None:
            return map_target(target, grid, None, self.ignore_label)
        labels, anatomy = target[:, :1], target[:, 1:]
        if not self.anatomy:
            return map_target(labels, grid, self.labels, self.ignore_label)
        if self.codes is not None:
            # Outside of the image nnU-Net fills maps with -1.
            anatomy = self.codes[anatomy.long().clamp(min=0)]
        shares = map_target(labels, grid, self.labels, self.ignore_label)
        # Prompts of anatomy describe normal tissue: a lesion in the peripheral zone is none, and what is ignored is
        # unknown. The data set's maps hold the zones under lesions, too.
        normal = map_target(torch.where(labels == 0, anatomy, 0), grid, self.anatomy, None)
        return MapTarget(torch.cat([shares.foreground, normal.foreground], dim=1), shares.valid)


@torch.no_grad()
def similarity_statistics(similarity_logits: Tensor, shares: MapTarget) -> tuple[Tensor, Tensor]:
    """Mean heatmap value over foreground and over background, scalars; NaN where there is none."""
    heatmap = torch.sigmoid(similarity_logits)
    # 0 / 0 is the NaN that is wanted here: no voxel, no mean.
    inside, outside = ((heatmap * weight).sum() / weight.sum() for weight in (shares.foreground, shares.background))
    return inside, outside
