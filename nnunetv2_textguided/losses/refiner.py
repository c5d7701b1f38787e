"""The refiner's own loss: Dice of the refined probabilities and cross-entropy over the gated voxels."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nnunetv2_textguided.network.gate import Refinement, at_gate, neighbourhood
from nnunetv2_textguided.settings import Settings

SMOOTH = 1e-5
"""Added to numerator and denominator of the Dice, in voxels."""


class RefinerLoss(nn.Module):
    """1 - Dice(z') + ce_weight CE(z' over the gate), times `weight`. Voxels at the true border count more in the
    cross-entropy, and those of patches without foreground not at all.

    Base logits are constants here, so only the refiner learns from it. The Dice is that of the whole patch, pooled over
    the batch, but only gated voxels differ from the base probabilities, whose sums are taken once without a gradient:
    no second volume of probabilities is kept.

    Args:
        regions: targets are region masks.
        ignore_label: the value of the ignore label; None: there is none.
        ce_weight: weight of the cross-entropy.
        border_weight: what a voxel counts in it beyond 1 that has neighbours of another label.
    """

    weight: Tensor

    def __init__(self, regions: bool, ignore_label: int | None, ce_weight: float, border_weight: float) -> None:
        super().__init__()
        self.regions, self.ignore_label = regions, ignore_label
        self.ce_weight, self.border_weight = ce_weight, border_weight
        # A tensor, as the phase changes it between epochs.
        self.register_buffer("weight", torch.zeros(()))

    def forward(self, logits: Tensor, refinement: Refinement, target: Tensor) -> Tensor:
        """Weighted loss.

        Args:
            logits: (B, O, *S) base logits.
            refinement: the gate, and the change in it.
            target: (B, 1, *S) labels, or (B, O [+ 1 for ignore], *S) region masks.
        """
        base, gate = logits.detach().float(), refinement.gate
        truth, valid = one_hot(target, base.shape[1], self.regions, self.ignore_label)
        masks, truth, valid = truth, truth.flatten(2), valid.flatten(2)
        refined = at_gate(base, gate) + refinement.change.float()
        counted = at_gate(valid, gate) & gate.open[:, None]
        with torch.no_grad():
            before = self._probabilities(base.flatten(2)) * valid
            overlap, claimed = (before * truth).sum(dim=(0, 2)), before.sum(dim=(0, 2))
            present, inside, known = (truth & valid).sum(dim=(0, 2)), at_gate(before, gate), at_gate(truth, gate)
            # Voxels of patches without foreground would teach it to remove everything: their errors are not at borders.
            holds = (truth & valid).flatten(1).any(dim=1)[:, None, None]
            counts = counted * holds * (1 + self.border_weight * self._at_border(masks, gate.places))
        moved = torch.where(counted, self._probabilities(refined) - inside, 0.0)
        overlap, claimed = overlap + (moved * known).sum(dim=(0, 2)), claimed + moved.sum(dim=(0, 2))
        dice = (2 * overlap + SMOOTH) / (claimed + present + SMOOTH)
        return self.weight * ((1 - dice).mean() + self.ce_weight * self._cross_entropy(refined, known, counted, counts))

    def _probabilities(self, logits: Tensor) -> Tensor:
        """Foreground probabilities (B, C, N) of (B, O, N) logits."""
        return torch.sigmoid(logits) if self.regions else torch.softmax(logits, dim=1)[:, 1:]

    def _at_border(self, masks: Tensor, places: Tensor) -> Tensor:
        """Which of (B, M) places have neighbours of another label: (B, C, M) for regions, (B, 1, M) for classes."""
        cubes = neighbourhood(masks, places, (3,) * (masks.ndim - 2)).unflatten(2, (masks.shape[1], -1))
        mixed = (cubes.any(dim=3) & ~cubes.all(dim=3)).transpose(1, 2)
        return mixed if self.regions else mixed.any(dim=1, keepdim=True)

    def _cross_entropy(self, logits: Tensor, truth: Tensor, counted: Tensor, counts: Tensor) -> Tensor:
        """Sum over voxels of (B, O, M) logits against (B, C, M) masks, each `counts` times, by their number."""
        if self.regions:
            losses = F.binary_cross_entropy_with_logits(logits, truth.float(), reduction="none")
            counted, counts = counted.expand_as(losses), counts.expand_as(losses)
        else:
            labels = (truth * torch.arange(1, logits.shape[1], device=truth.device)[:, None]).sum(dim=1)
            losses = F.cross_entropy(logits, labels, reduction="none")[:, None]
        return torch.where(counted, losses * counts, 0.0).sum() / counted.sum().clamp(min=1)


def own_loss(settings: Settings, regions: bool, ignore_label: int | None) -> RefinerLoss | None:
    """The loss of the settings' refiner; None where it has none: no refiner, or the attention design."""
    options = settings.refiner
    if "refiner" not in settings.components or options.design != "surface":
        return None
    return RefinerLoss(regions, ignore_label, options.ce_weight, options.border_weight)


def one_hot(target: Tensor, outputs: int, regions: bool, ignore_label: int | None) -> tuple[Tensor, Tensor]:
    """Foreground masks (B, C, *S) of a target, and where it is known, (B, 1, *S); both bool.

    Args:
        target: (B, 1, *S) labels, or (B, O [+ 1 for ignore], *S) region masks.
        outputs: segmentation heads O.
        regions: whether it holds region masks.
        ignore_label: the value of the ignore label; None: there is none.
    """
    if regions:
        valid = target[:, -1:] < 0.5 if ignore_label is not None else torch.ones_like(target[:, :1], dtype=torch.bool)
        return target[:, :outputs] > 0.5, valid
    valid = target != ignore_label if ignore_label is not None else torch.ones_like(target, dtype=torch.bool)
    shape = (1, outputs - 1, *(1,) * (target.ndim - 2))
    return target == torch.arange(1, outputs, device=target.device).view(shape), valid


def edits(
    logits: Tensor, refinement: Refinement, alpha: Tensor, target: Tensor, regions: bool, ignore_label: int | None
) -> Tensor:
    """What the refiner does to patches: the sums named in EDITS, float64.

    Args:
        logits: (B, O, *S) base logits.
        refinement: the gate, and the change in it.
        alpha: strength of the refiner.
        target: as for the loss.
        regions: whether logits and target are those of regions.
        ignore_label: the value of the ignore label; None: there is none.
    """
    gate, base = refinement.gate, at_gate(logits.float(), refinement.gate)
    truth, valid = one_hot(target, logits.shape[1], regions, ignore_label)
    change = alpha * refinement.change.float()
    before, after = _decided(base, regions), _decided(base + change, regions)
    flipped = (before != after) & at_gate(valid, gate) & gate.open[:, None]
    moved = (change if regions else change[:, 1:] - change[:, :1]).double()
    sums = (
        (flipped & after).sum(),
        (flipped & before).sum(),
        (flipped & (after == at_gate(truth, gate))).sum(),
        gate.open.sum() * moved.shape[1],
        moved.sum(),
        moved.square().sum(),
        gate.open.new_full((), logits[:, 0].numel() * moved.shape[1], dtype=torch.float64),
    )
    return torch.stack([value.double() for value in sums])


EDITS = ("added", "removed", "right", "gated", "change", "squared", "voxels")
"""Voxels that a label gains, loses, and of both those that the reference agrees with; gated voxels; the sum of the
change and of its square over them; voxels. Summed over labels."""


def _decided(logits: Tensor, regions: bool) -> Tensor:
    """Foreground masks (B, C, N) that (B, O, N) logits decide for."""
    if regions:
        return logits > 0
    labels = torch.arange(1, logits.shape[1], device=logits.device)
    return logits.argmax(dim=1, keepdim=True) == labels[None, :, None]
