"""A training step: the losses it adds up, and what the optimiser makes of them.

The trainer takes its steps with these functions, and the planner counts their cost (planning/step.py).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nnunetv2_textguided.losses.grounding import grounding_loss
from nnunetv2_textguided.losses.guidance import GuidanceLoss
from nnunetv2_textguided.losses.refiner import RefinerLoss
from nnunetv2_textguided.losses.report import BatchReports, ReportTerms
from nnunetv2_textguided.network.grounding import CaseInput
from nnunetv2_textguided.network.guided import Guided
from nnunetv2_textguided.settings import GroundingSettings


class StepTerms(NamedTuple):
    """One step's scalars, named as they are logged. Only `loss` has a gradient that is used: the sum of all losses."""

    loss: Tensor
    loss_seg: Tensor
    loss_align: Tensor
    loss_heat: Tensor
    loss_refine: Tensor
    loss_ground: Tensor
    loss_report_place: Tensor
    loss_report_outside: Tensor
    loss_report_volume: Tensor
    similarity_foreground: Tensor
    similarity_background: Tensor


class Told(NamedTuple):
    """What a network is told in a step.

    Attributes:
        text: the network's input.
        members: (P, K), 1 where sector k + 1 belongs to the place that phrase p names, else 0.
    """

    text: CaseInput
    members: Tensor


@dataclass(frozen=True)
class StepLosses:
    """The losses of a step. A further one gets a field here, a line in `compute_terms` and a name in `StepTerms`.

    Attributes:
        segmentation: of the network's outputs and their targets, as nnU-Net calls it.
        guidance: the text losses; None: a training without text.
        refiner: of a refiner that has a loss of its own, whose change the segmentation loss then does not see.
        grounding: the settings of the grounding loss; None: phrases are not grounded.
        reports: what reports count in the batch's cases, and the losses made of it; None: nothing is learned from them.
    """

    segmentation: Callable[[Any, Any], Tensor]
    guidance: GuidanceLoss | None
    refiner: RefinerLoss | None = None
    grounding: GroundingSettings | None = None
    reports: BatchReports | None = None

    @property
    def has_anatomy(self) -> bool:
        """Whether label maps have the anatomy as a second channel."""
        aligned = self.guidance is not None and bool(self.guidance.anatomy)
        return aligned or self.grounding is not None or (self.reports is not None and self.reports.sectors)


def compute_terms(
    network: Any,
    data: Tensor,
    target: list[Tensor] | Tensor | Callable[[Any], list[Tensor]],
    losses: StepLosses,
    precision: AbstractContextManager[Any] | None = None,
    told: Told | None = None,
) -> StepTerms:
    """Forward pass and losses.

    Args:
        network, data: AlignRefineUNet, perhaps wrapped, and (B, channels, *S) images.
        target: nnU-Net's, one for each output with deep supervision, the full resolution first; anatomy, if any, is
            the second channel of the label maps. A function makes them from the network's outputs.
        losses, told: the losses, and what the network is told of the cases; None: nothing.
        precision: of the forward pass and the segmentation loss; None: as the caller has set it.
    """
    with precision or nullcontext():
        guided = _forward(network, data, losses.refiner is not None, told)
        output, similarity = guided.segmentation, guided.similarity
        full = target(output) if callable(target) else target
        full = full if losses.reports is None else losses.reports.with_negatives(full)
        labels = without_anatomy(full) if losses.has_anatomy else full
        segmentation = losses.segmentation(output, labels)
    zero = segmentation.new_zeros(())
    finest, report = _finest(full), ReportTerms(zero, zero, zero, zero)
    if losses.reports is not None:
        report = losses.reports(_finest(output), finest)
    if losses.guidance is None or similarity is None:
        unknown = segmentation.new_full((), float("nan"))
        loss = segmentation if losses.reports is None else segmentation + report.weighted
        return StepTerms(loss, segmentation, zero, zero, zero, zero, *report[1:], unknown, unknown)
    refine = zero
    if losses.refiner is not None and guided.refinement is not None:
        refine = losses.refiner(_finest(output), guided.refinement, _finest(labels))
    ground, weighted = _ground(guided, losses.grounding, told, finest) or (zero, zero)
    text = losses.guidance(similarity, finest)
    loss = segmentation + text.weighted + refine + weighted + report.weighted
    known = (text.similarity_foreground, text.similarity_background)
    return StepTerms(loss, segmentation, text.align, text.heat, refine, ground, *report[1:], *known)


def _ground(
    guided: Guided, settings: GroundingSettings | None, told: Told | None, target: Tensor
) -> tuple[Tensor, Tensor] | None:
    """The grounding loss and the same with its weight; None where phrases are not grounded."""
    places, attributes, _ = guided.grounded
    if settings is None or told is None or places is None or attributes is None:
        return None
    loss = grounding_loss(places, attributes, target[:, 1:], told.members, settings.dice_weight, target[:, :1])
    return loss, settings.weight * loss


def _forward(network: Any, data: Tensor, apart: bool, told: Told | None) -> Guided:
    """The forward pass; `apart`: the refinement is left out of the logits."""
    if not apart and told is None:
        return Guided(*network(data, return_similarity=True))
    text = {} if told is None else {"text": told.text}
    guided: Guided = network(data, return_similarity=True, return_refinement=apart, **text)
    return guided


def _finest(parts: Any) -> Any:
    return parts[0] if isinstance(parts, list) else parts


def without_anatomy(target: list[Tensor] | Tensor) -> Any:
    """The label maps (B, 1, *S) of a target, (B, 1 or 2, *S) or a list of them: what the segmentation loss sees."""
    return [part[:, :1] for part in target] if isinstance(target, list) else target[:, :1]


def autocast(device: torch.device) -> AbstractContextManager[Any]:
    """The precision of nnU-Net's forward passes: mixed on CUDA, else float32."""
    return torch.autocast("cuda") if device.type == "cuda" else nullcontext()


def to_device(tensors: list[Tensor] | Tensor, device: torch.device) -> Any:
    """A tensor, or a list of them, on a device."""
    if isinstance(tensors, list):
        return [tensor.to(device, non_blocking=True) for tensor in tensors]
    return tensors.to(device, non_blocking=True)


def optimise(
    terms: StepTerms, optimiser: torch.optim.Optimizer, scaler: torch.amp.GradScaler | None
) -> tuple[np.ndarray, bool]:
    """Take the gradient step of `terms.loss`, with one transfer to the host, as in nnU-Net.

    Returns:
        The values of StepTerms as a float32 array, and whether loss or gradients were not finite; then the weights
        are as before.
    """
    norm = backward(terms.loss, optimiser, scaler)
    values = torch.stack([*(term.detach().float() for term in terms), norm.detach().float()]).cpu().numpy()
    failed = not np.isfinite(values[0]) or not (np.isfinite(values[-1]) or scaler is not None)
    if scaler is not None:
        # The scaler skips steps with non-finite gradients itself and lowers its scale.
        scaler.step(optimiser)
        scaler.update()
    elif not failed:
        # Gradients are the same on all ranks, and so is this decision.
        optimiser.step()
    return values[:-1], failed


def losses_of(values: np.ndarray) -> dict[str, float]:
    """The losses among the values of StepTerms, by name."""
    named = dict(zip(StepTerms._fields, values.tolist(), strict=True))
    return {name: value for name, value in named.items() if name.startswith("loss")}


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
