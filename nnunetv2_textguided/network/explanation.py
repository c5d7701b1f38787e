"""What the text does to an image: heatmap, gate, and what the refiner changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nnunetv2_textguided.network.alignment import AlignmentHead
from nnunetv2_textguided.network.attention_refiner import AttentionRefiner
from nnunetv2_textguided.network.gate import Refinement
from nnunetv2_textguided.network.grounding import on_grid
from nnunetv2_textguided.network.guided import Decoded
from nnunetv2_textguided.network.refiner import SurfaceRefiner


@dataclass(frozen=True)
class Explanation:
    """What the text did to one batch. All tensors on the image grid *S.

    Attributes:
        logits: (B, O, *S) final segmentation logits.
        heatmap: (B, C, *S) calibrated text-image similarity in (0, 1), one map per label that is segmented.
        gate: (B, 1, *S) bool, the voxels that the refiner was allowed to change.
        change: (B, O, *S) what the refiner added to the logits.
        attention_scale: the learned scale a of the alignment head.
        sentences: (B, S, *S) where each sentence was grounded, in (0, 1); None without sentences.
    """

    logits: Tensor
    heatmap: Tensor
    gate: Tensor
    change: Tensor
    attention_scale: Tensor
    sentences: Tensor | None = None


def explanation_of(
    head: AlignmentHead,
    refiner: SurfaceRefiner | AttentionRefiner | None,
    decoded: Decoded,
    refinement: Refinement | None,
    labels: int,
    size: Sequence[int],
) -> Explanation:
    """What a decoder's pass says.

    Args:
        head: the alignment head.
        refiner: the refiner; None: there is none.
        decoded: the pass, with its similarity logits.
        refinement: what the refiner would add; None: nothing.
        labels: how many labels, the first ones, are segmented.
        size: the image grid.
    """
    assert decoded.similarity is not None  # asked for, and there is text
    logits = decoded.outputs[0]
    gate, change = torch.zeros_like(logits[:, :1], dtype=torch.bool), torch.zeros_like(logits)
    if refiner is not None and refinement is not None:
        places, let_through = refinement.gate
        gate = gate.flatten(2).scatter(2, places[:, None], let_through[:, None]).view_as(gate)
        refined = refiner.refine(logits, refinement)
        logits, change = refined, refined - logits
    heatmap = head.calibration(on_grid(decoded.similarity[:, :labels], size))
    grounded = decoded.grounded.sentences
    sentences = None if grounded is None else torch.sigmoid(on_grid(grounded, size))
    return Explanation(logits, heatmap, gate, change, head.scale, sentences)
