"""What nnU-Net's online validation shows of the refiner and of the heatmap."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nnunetv2_textguided.losses.guidance import GuidanceLoss
from nnunetv2_textguided.network import AlignRefineUNet
from nnunetv2_textguided.network.calibration import count
from nnunetv2_textguided.training.statistics import mean_over_ranks, refinement_statistics, sum_over_ranks
from nnunetv2_textguided.training.step import autocast


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
        refinement: the refiner's statistics of the epoch's first batch, as `refinement_statistics` returns them.
        counts: similarity logits so far, as `count` returns them; None for a network without text.
    """

    def __init__(self) -> None:
        self.refinement: list[float] | None = None
        self.counts: Tensor | None = None

    def start(self, network: AlignRefineUNet) -> None:
        """Start an epoch."""
        self.refinement = None
        alignment = network.alignment
        self.counts = None if alignment is None else torch.zeros_like(alignment.calibration.mass)

    def watch_refiner(self, network: AlignRefineUNet, data: Tensor, device: torch.device) -> None:
        """Note what the refiner does to the epoch's first batch, (B, channels, *S) images."""
        if self.refinement is None:
            with autocast(device):
                self.refinement = refinement_statistics(network, data.to(device, non_blocking=True))

    def refinement_of_all_ranks(self, distributed: bool) -> list[float]:
        """Means of `refinement` over all ranks; NaN where no refiner was seen."""
        return mean_over_ranks(np.array([self.refinement or [np.nan, np.nan]]), distributed)

    def observe(self, network: Any, target: list[Tensor] | Tensor, loss: GuidanceLoss | None, patches: int) -> Any:
        """`network` as nnU-Net's validation calls it, whose similarity logits are counted.

        Args:
            network: the network, perhaps wrapped.
            target: nnU-Net's.
            loss: the text losses, which know what a target holds; None: there is nothing to count.
            patches: the batch's first patches, the ones to count.
        """
        full = target[0] if isinstance(target, list) else target
        return _Observed(network, partial(self._count, full, loss, patches))

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


class _Observed:
    """A network whose similarity logits an observer sees, too, before anything can change the batch."""

    def __init__(self, network: Any, observe: Callable[[Tensor | None], None]) -> None:
        self._network, self._observe = network, observe

    def __call__(self, data: Tensor) -> Any:
        segmentation, similarity = self._network(data, return_similarity=True)
        self._observe(similarity)
        return segmentation
