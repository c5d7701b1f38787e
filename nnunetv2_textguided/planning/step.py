"""Forward pass and loss of a training step, the trainer's own (training/step.py), for counting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nnunetv2_textguided.anatomy.sectors import SECTORS
from nnunetv2_textguided.losses.guidance import GuidanceLoss
from nnunetv2_textguided.losses.refiner import own_loss
from nnunetv2_textguided.losses.segmentation import SegmentationLoss
from nnunetv2_textguided.network.clinical import FACTS
from nnunetv2_textguided.network.grounding import CaseInput
from nnunetv2_textguided.nnunet.losses import deep_supervision, stock_loss
from nnunetv2_textguided.settings import Settings
from nnunetv2_textguided.training.step import StepLosses, Told, compute_terms

_TOKENS = 16
"""Of a phrase or sentence, as most have."""


@dataclass(frozen=True)
class Labels:
    """What the loss needs to know of a data set.

    Attributes:
        names: foreground labels or regions, in the order of the segmentation heads.
        regions: region-based training.
        anatomy: anatomical structures.
    """

    names: tuple[str, ...]
    regions: bool
    anatomy: tuple[str, ...] = ()

    @property
    def heads(self) -> int:
        """Segmentation heads: regions, or classes with background."""
        return len(self.names) + (not self.regions)

    def aligned(self, settings: Settings) -> tuple[str, ...]:
        """The anatomical structures that a training with these settings aligns with the text."""
        return self.anatomy if settings.alignment.anatomy and settings.uses_text else ()


def step_loss(labels: Labels, settings: Settings | None) -> Callable[..., Tensor]:
    """A function of (network, (B, channels, *S) images) that computes a training step's loss.

    Its third argument are targets in nnU-Net's layout, one for each output; None: everything is background.

    Args:
        labels: the data set's labels.
        settings: the text-guided training's; None: stock nnU-Net's loss.
    """
    loss = _segmentation_loss(labels, settings)
    guidance, refiner, grounding, anatomy = None, None, None, 0
    if settings is not None:
        anatomy, heatmap = len(labels.aligned(settings)), settings.heatmap
        values = None if labels.regions else range(1, labels.heads)
        guidance = GuidanceLoss(values, None, heatmap.dice_weight, heatmap.hard_negatives, range(1, anatomy + 1))
        refiner = own_loss(settings, labels.regions, None)
        grounding = settings.grounding if settings.grounding.enabled else None

    def segmentation(outputs: list[Tensor], targets: list[Tensor]) -> Tensor:
        value: Tensor = deep_supervision(loss, len(outputs))(outputs, targets)
        return value

    losses = StepLosses(segmentation, guidance, refiner, grounding)

    def run(network: Any, data: Tensor, targets: list[Tensor] | None = None) -> Tensor:
        def layout(outputs: list[Tensor]) -> list[Tensor]:
            first, *others = [_background(output, labels) for output in outputs] if targets is None else targets
            second = anatomy or grounding is not None
            return [torch.cat([first, torch.zeros_like(first)], 1) if second else first, *others]

        forward = network if guidance is not None else _without_similarity(network)
        told = None if settings is None else _told(network, data, settings)
        return compute_terms(forward, data, layout, losses, told=told).loss

    return run


def _told(network: Any, data: Tensor, settings: Settings) -> Told | None:
    """As much text of (B, channels, *S) images as a training step tells the network."""
    case, grounding = settings.text.case, settings.grounding
    if not grounding.enabled and not case.clinical:
        return None
    batch = len(data)
    phrases = sentences = None
    if grounding.enabled:
        head = network.grounding
        text = (1 if head.attention is None else _TOKENS, len(head.centre))
        phrases = data.new_zeros(grounding.phrases, *text)
        sentences = data.new_zeros(batch, case.max_sentences, *text) if case.sentences else None
    facts = data.new_zeros(batch, len(FACTS)) if case.clinical else None
    return Told(CaseInput(phrases, sentences, facts), data.new_zeros(grounding.phrases, len(SECTORS)))


def _without_similarity(network: Any) -> Callable[..., tuple[list[Tensor], None]]:
    return lambda data, return_similarity: (network(data), None)


def _segmentation_loss(labels: Labels, settings: Settings | None) -> nn.Module:
    """As nnU-Net's trainer and ours build it, without an ignore label: what its mask adds is negligible."""
    if settings is not None:
        chosen = settings.segmentation_loss
        if (chosen.region, chosen.voxel) != ("dice", "ce"):
            return SegmentationLoss(chosen, labels.regions, None, False)
    return stock_loss(labels.regions)


def _background(output: Tensor, labels: Labels) -> Tensor:
    if labels.regions:
        return torch.zeros_like(output, dtype=torch.bool)
    return torch.zeros_like(output[:, :1], dtype=torch.int16)
