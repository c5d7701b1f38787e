"""What the text does to an image: heatmap, gate, and what the refiner changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from nnunetv2_textguided.network.alignment import AlignmentHead


@dataclass(frozen=True)
class Explanation:
    """What the text did to one batch. All tensors on the image grid *S.

    Attributes:
        logits: (B, O, *S) final segmentation logits.
        heatmap: (B, C, *S) calibrated text-image similarity in (0, 1), one map per label that is segmented.
        gate: (B, 1, *S) bool, the voxels that the refiner was allowed to change.
        change: (B, O, *S) what the refiner added to the logits.
        attention_scale: the learned scale a of the alignment head.
    """

    logits: Tensor
    heatmap: Tensor
    gate: Tensor
    change: Tensor
    attention_scale: Tensor


def heatmap_of(head: AlignmentHead, similarity: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, *s) similarity logits of the first C labels as the heatmap (B, C, *size), calibrated probabilities."""
    mode = "trilinear" if len(size) == 3 else "bilinear"
    heatmap: Tensor = head.calibration(F.interpolate(similarity, tuple(size), mode=mode, align_corners=False))
    return heatmap
