"""Online validation: nnU-Net's, and what it shows of the refiner and of the heatmap."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._dynamo import OptimizedModule

from nnunetv2_textguided.losses.guidance import GuidanceLoss
from nnunetv2_textguided.losses.refiner import RefinerLoss
from nnunetv2_textguided.network import AlignRefineUNet
from nnunetv2_textguided.network.calibration import count
from nnunetv2_textguided.network.gate import Refinement
from nnunetv2_textguided.training.anatomy import AnatomyTrainer
from nnunetv2_textguided.training.refinement import Edits, alpha_of, segment
from nnunetv2_textguided.training.statistics import sum_over_ranks


class ValidationTrainer(AnatomyTrainer):
    """Watches the refiner, and calibrates the heatmap on patches that nothing is trained on."""

    network: Any  # nnU-Net's: a module, perhaps wrapped
    guidance_loss: GuidanceLoss | None = None
    edits: Edits
    refiner_loss: RefinerLoss | None = None
    evidence: Tensor | None = None

    @property
    def bare_network(self) -> AlignRefineUNet:
        """The network without the wrappers of DDP and torch.compile."""
        network: AlignRefineUNet = self._unwrapped(self.network.module if self.is_ddp else self.network)
        return network

    @staticmethod
    def _unwrapped(network: Any) -> Any:
        return network._orig_mod if isinstance(network, OptimizedModule) else network

    def _autocast(self) -> Any:
        return torch.autocast("cuda") if self.device.type == "cuda" else nullcontext()

    @property
    def random_patches(self) -> int:
        """How many patches of a batch, the first ones, are drawn from anywhere and not around foreground."""
        if self.probabilistic_oversampling:
            return 0  # the loader does not say which
        return round(self.batch_size * (1 - self.oversample_foreground_percent))

    def on_validation_epoch_start(self) -> None:
        """Start to collect."""
        super().on_validation_epoch_start()
        self.edits = Edits(self.label_manager.has_regions, self.label_manager.ignore_label)
        alignment = self.bare_network.alignment
        self.evidence = None if alignment is None else torch.zeros_like(alignment.calibration.mass)

    def validation_step(self, batch: dict) -> dict:
        """nnU-Net's step. Counts similarity logits, and what the refiner changes."""
        network, target = self.network, batch["target"]
        full = target[0] if isinstance(target, list) else target
        self.network = _Observed(network, self.bare_network, partial(self._count, full))
        try:
            return super().validation_step(batch)
        finally:
            self.network = network

    def _count(self, target: Tensor, similarity: Tensor | None, base: Tensor, refinement: Refinement | None) -> None:
        alpha = alpha_of(self.bare_network)
        self.edits.count(base, refinement, alpha, self.segmented(target))
        if similarity is None or self.guidance_loss is None or self.evidence is None:
            return
        similarity = similarity[: self.random_patches]
        shares = self.guidance_loss.shares(target[: len(similarity)].to(similarity.device), similarity.shape[2:])
        self.evidence += count(similarity, shares.foreground, shares.background)

    def on_validation_epoch_end(self, val_outputs: list[dict]) -> None:
        """nnU-Net's own, then calibrate with the epoch's evidence of all ranks."""
        super().on_validation_epoch_end(val_outputs)
        alignment = self.bare_network.alignment
        if alignment is not None and self.evidence is not None:
            alignment.calibration.update(sum_over_ranks(self.evidence, self.is_ddp))


class _Observed:
    """A network whose similarity logits and refinement an observer sees, too, before anything can change the batch."""

    def __init__(self, network: Any, bare: AlignRefineUNet, observe: Callable[..., None]) -> None:
        self._network, self._bare, self._observe = network, bare, observe

    def __call__(self, data: Tensor) -> Any:
        segmentation, *seen = segment(self._network, self._bare, data)
        self._observe(*seen)
        return segmentation
