"""What nnU-Net's online validation shows of the refiner and of the heatmap."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from nnunetv2_textguided.losses.guidance import GuidanceLoss
from nnunetv2_textguided.network import AlignRefineUNet
from nnunetv2_textguided.network.calibration import count
from nnunetv2_textguided.training.refinement import Edits, segment
from nnunetv2_textguided.training.statistics import sum_over_ranks


@contextmanager
def replaced(owner: Any, attribute: str, value: Any) -> Iterator[None]:
    """A context in which an attribute of `owner` has another value."""
    before = getattr(owner, attribute)
    setattr(owner, attribute, value)
    try:
        yield
    finally:
        setattr(owner, attribute, before)


def random_patches(batch_size: int, oversampled: float, probabilistic: bool) -> int:
    """How many patches of a batch, the first ones, nnU-Net draws from anywhere and not around foreground.

    Args:
        batch_size: patches of a batch.
        oversampled: the share that is drawn around foreground.
        probabilistic: whether that share is drawn at random, which the loader does not tell; then 0.
    """
    return 0 if probabilistic else round(batch_size * (1 - oversampled))


class OnlineValidation:
    """One epoch's validation: watches the refiner, and calibrates the heatmap on patches that nothing is trained on.

    Attributes:
        edits: what the refiner does to the epoch's patches.
        counts: similarity logits so far, as `count` returns them; None for a network without text.
    """

    def __init__(self, edits: Edits) -> None:
        self.edits = edits
        self.counts: Tensor | None = None

    def start(self, network: AlignRefineUNet) -> None:
        """Start an epoch."""
        self.edits.start()
        alignment = network.alignment
        self.counts = None if alignment is None else torch.zeros_like(alignment.calibration.mass)

    def observe(
        self, network: Any, bare: AlignRefineUNet, target: Any, labels: Any, loss: GuidanceLoss | None, patches: int
    ) -> Any:
        """`network` as nnU-Net's validation calls it, whose similarity logits and edits are counted.

        Args:
            network: the network, perhaps wrapped.
            bare: the same without its wrappers.
            target: nnU-Net's.
            labels: the part of it that the segmentation loss sees.
            loss: the text losses, which know what a target holds; None: there is nothing to count.
            patches: the batch's first patches, whose similarity logits are counted.
        """
        full, finest = (part[0] if isinstance(part, list) else part for part in (target, labels))

        def call(data: Tensor) -> Any:
            segmentation, similarity, base, refinement = segment(network, bare, data)
            # Before anything can change the batch.
            self._count(full, loss, patches, similarity)
            if refinement is not None and bare.refiner is not None:
                self.edits.count(base, refinement, bare.refiner.alpha, finest)
            return segmentation

        return call

    def _count(self, target: Tensor, loss: GuidanceLoss | None, patches: int, similarity: Tensor | None) -> None:
        if similarity is None or loss is None or self.counts is None:
            return
        similarity = similarity[:patches]
        shares = loss.shares(target[: len(similarity)].to(similarity.device), similarity.shape[2:])
        self.counts += count(similarity, shares.foreground, shares.background)

    def finish(self, network: AlignRefineUNet, distributed: bool) -> None:
        """Calibrate the heatmap with the counts of all ranks."""
        if network.alignment is not None and self.counts is not None:
            network.alignment.calibration.update(sum_over_ranks(self.counts, distributed))
