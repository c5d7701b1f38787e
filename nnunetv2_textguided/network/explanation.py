"""What the text does to an image: heatmap, gate, and what the refiner changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from nnunetv2_textguided.errors import NetworkError

if TYPE_CHECKING:
    from nnunetv2_textguided.network.unet import AlignRefineUNet


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


@torch.no_grad()
def explain(network: AlignRefineUNet, x: Tensor) -> Explanation:
    """What the text of `network` does to (B, channels, *S) images.

    Raises:
        NetworkError: this network has no text.
    """
    if network.alignment is None:
        raise NetworkError("This network was trained without text: there is nothing to explain.")
    decoded = network.decode(network.encoder(x), explained=True)
    logits, similarity, refinement = decoded.outputs[0], decoded.similarity, network.refinement(x, decoded)
    assert similarity is not None  # asked for, and there is text
    gate, change = torch.zeros_like(logits[:, :1], dtype=torch.bool), torch.zeros_like(logits)
    if network.refiner is not None and refinement is not None:
        places, let_through = refinement.gate
        gate = gate.flatten(2).scatter(2, places[:, None], let_through[:, None]).view_as(gate)
        refined = network.refiner.refine(logits, refinement)
        logits, change = refined, refined - logits
    mode = "trilinear" if x.ndim == 5 else "bilinear"
    shown = similarity[:, : network.num_segmented]
    heatmap = network.alignment.calibration(F.interpolate(shown, x.shape[2:], mode=mode, align_corners=False))
    return Explanation(logits, heatmap, gate, change, network.alignment.scale)
