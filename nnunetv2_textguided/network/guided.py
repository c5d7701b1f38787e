"""What the network's passes return beside a segmentation."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from nnunetv2_textguided.network.gate import Refinement
from nnunetv2_textguided.network.grounding import Grounded

Segmentation = Tensor | list[Tensor]
"""(B, O, *S) logits, or a list of them, finest first, with deep supervision."""


class Decoded(NamedTuple):
    """What the decoder computes.

    Attributes:
        outputs: (B, O, *S) logits, finest first; all scales with deep supervision, else one.
        similarity: (B, C, *s) similarity logits; None where nobody asks for them.
        finest: (B, width, *S) features of the finest stage.
        coarser: features of the stage before.
        grounded: where phrases and sentences are.
    """

    outputs: list[Tensor]
    similarity: Tensor | None
    finest: Tensor
    coarser: Tensor
    grounded: Grounded = Grounded()


class Guided(NamedTuple):
    """A forward pass with all that text did in it.

    Attributes:
        segmentation: logits, refined unless the refinement was asked for.
        similarity: (B, C, *s) similarity logits at the alignment stage; None for a network without text.
        refinement: what the refiner would add to the finest logits; None without a refiner, or while it waits.
        grounded: where phrases and sentences are.
    """

    segmentation: Segmentation
    similarity: Tensor | None
    refinement: Refinement | None = None
    grounded: Grounded = Grounded()
