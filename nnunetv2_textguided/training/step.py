"""One optimisation step: the losses it adds up, and the gradients it takes from them."""

from __future__ import annotations

import torch
from torch import Tensor

from nnunetv2_textguided.losses.guidance import GuidanceLoss

STEP_TERMS = (
    *("loss", "loss_seg", "loss_align", "loss_heat", "similarity_foreground", "similarity_background"),
    "loss_refine",
)


def loss_terms(
    guidance: GuidanceLoss | None,
    segmentation: Tensor,
    similarity: Tensor | None,
    target: Tensor,
    refinement: Tensor | None = None,
) -> list[Tensor]:
    """The scalars of STEP_TERMS; only the first has a gradient that is used.

    Args:
        guidance: the text losses; None: a training without text.
        segmentation: the segmentation loss.
        similarity: (B, C, *s) similarity logits.
        target: the full-resolution target.
        refinement: the refiner's own loss; None: it has none.
    """
    refinement = segmentation.new_zeros(()) if refinement is None else refinement
    if guidance is None or similarity is None:
        unknown = segmentation.new_full((), float("nan"))
        zero = segmentation.new_zeros(())
        return [segmentation, segmentation, zero, zero, unknown, unknown, refinement]
    text = guidance(similarity, target)
    total = segmentation + text.weighted + refinement
    return [
        total,
        segmentation,
        text.align,
        text.heat,
        text.similarity_foreground,
        text.similarity_background,
        refinement,
    ]


def backward(loss: Tensor, optimiser: torch.optim.Optimizer, scaler: torch.amp.GradScaler | None) -> Tensor:
    """Gradients of all parameters, clipped as in nnU-Net but per part of the network; their norm before clipping.

    One norm over all parts would let a large gradient of the text's own projections shrink the backbone's step.
    """
    if scaler is not None:
        scaler.scale(loss).backward()
        scaler.unscale_(optimiser)
    else:
        loss.backward()
    groups = [group["params"] for group in optimiser.param_groups if group["params"]]
    return torch.linalg.vector_norm(torch.stack([torch.nn.utils.clip_grad_norm_(group, 12) for group in groups]))
