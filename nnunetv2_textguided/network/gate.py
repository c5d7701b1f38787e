"""The gate: which voxels the refiner may change, what it reads around them, and how its change is applied."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Gate(NamedTuple):
    """The voxels that are refined, as M flat indices per sample: a fixed number in training, so that shapes are static.

    A tuple, since torch.compile of torch 2.3 breaks its graph at a dataclass.

    Attributes:
        places: (B, M) int64 indices into the flattened volume.
        open: (B, M) bool, False where fewer than M voxels pass.
    """

    places: Tensor
    open: Tensor

    def trimmed(self) -> Gate:
        """Without places that no sample needs: as many as the fullest one has open, at least one; open ones first."""
        most = max(1, int(self.open.sum(dim=1).max()))
        order = self.open.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :most]
        return Gate(self.places.gather(1, order), self.open.gather(1, order))


class Refinement(NamedTuple):
    """What a refiner would add to the logits, at full strength.

    Attributes:
        gate: the voxels.
        change: (B, O, M) what is added to their logits; exactly 0 where the gate is closed.
    """

    gate: Gate
    change: Tensor


def at_gate(volume: Tensor, gate: Gate) -> Tensor:
    """(B, C, *S) or (B, C, V) values at the gated voxels: (B, C, M)."""
    return volume.flatten(2).gather(2, gate.places[:, None].expand(-1, volume.shape[1], -1))


def add_change(logits: Tensor, gate: Gate, change: Tensor) -> Tensor:
    """(B, O, *S) logits plus a change (B, O, M) of the gated voxels."""
    index = gate.places[:, None].expand(-1, logits.shape[1], -1)
    return logits.flatten(2).scatter_add(2, index, change.to(logits.dtype)).view_as(logits)


def log_odds(logits: Tensor, regions: bool) -> Tensor:
    """Log-odds of each label (of (B, O, V) logits): (B, C, V), class logits against the background's."""
    return logits if regions else logits[:, 1:] - logits[:, :1]


def surface_gate(logits: Tensor, regions: bool, band: float, count: int) -> Gate:
    """The `count` voxels nearest to a decision surface, of those within `band` logits of one; no gradient.

    A surface is where the segmentation changes: between any two classes, or the border of any region. Whether a voxel
    is within the band depends on its own logits alone, so that windows which overlap agree about it as long as no
    patch holds more than `count` of them.

    Args:
        logits: (B, O, *S) class logits, background first, or region logits.
        regions: whether they are region logits.
        band: voxels whose distance is smaller than this pass.
        count: voxels per sample.
    """
    values = logits.detach().float().flatten(2)
    if regions:
        distance = values.abs().amin(dim=1)
    elif values.shape[1] == 2:
        distance = (values[:, 1] - values[:, 0]).abs()
    else:
        first, second = torch.topk(values, 2, dim=1).values.unbind(dim=1)
        distance = first - second
    # Ties would be chosen differently by different devices; distances of real logits have none.
    nearest, places = torch.topk(distance, min(count, distance.shape[1]), dim=1, largest=False, sorted=False)
    return Gate(places, nearest < band)


def coordinates(places: Tensor, shape: Sequence[int]) -> list[Tensor]:
    """The index along each axis of (B, M) flat indices into a volume of `shape`, first axis first."""
    found = []
    for size in reversed(shape):
        found.append(places % size)
        places = torch.div(places, size, rounding_mode="floor")
    return found[::-1]


def neighbourhood(volume: Tensor, places: Tensor, extent: Sequence[int]) -> Tensor:
    """The cubes of (B, C, *S) `volume` around (B, M) places, borders replicated: (B, M, C * prod(extent)).

    Args:
        volume: (B, C, *S); only what is in the cubes is read and kept for the gradient.
        places: (B, M) flat indices.
        extent: odd size of the cube along each axis.
    """
    shape = volume.shape[2:]
    centre = coordinates(places, shape)
    flat = []
    for offset in itertools.product(*(range(-(size // 2), size // 2 + 1) for size in extent)):
        index = torch.zeros_like(places)
        for position, step, size in zip(centre, offset, shape, strict=True):
            index = index * size + (position + step).clamp(0, size - 1)
        flat.append(index)
    chosen = torch.cat(flat, dim=1)
    # gather reads only what it needs of each channel, and keeps indices, not a copy of the volume.
    read = volume.flatten(2).gather(2, chosen[:, None].expand(-1, volume.shape[1], -1))
    return read.unflatten(2, (len(flat), places.shape[1])).flatten(1, 2).transpose(1, 2)


def sample(coarse: Tensor, places: Tensor, shape: Sequence[int]) -> Tensor:
    """Linear interpolation at voxels of a finer grid: (B, M, C) float32.

    Args:
        coarse: (B, C, *s) the volume.
        places: (B, M) flat indices into the finer grid.
        shape: of the finer grid.
    """
    # grid_sample wants the last axis first.
    axes = [(2 * at + 1).float() / size - 1 for at, size in zip(coordinates(places, shape), shape, strict=True)]
    grid = torch.stack(axes[::-1], dim=-1)
    grid = grid.view(places.shape[0], *(1,) * (len(shape) - 1), places.shape[1], len(shape))
    sampled = F.grid_sample(coarse.float(), grid, padding_mode="border", align_corners=False)
    return sampled.flatten(2).transpose(1, 2)


STRENGTH = "refiner.alpha"
"""The strength of a network's refiner among the network's weights."""


def switched_off(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A network's weights with its refiner's strength 0: its masks are those before the refiner.

    Args:
        weights: (...) each, by name; the strength is a scalar.

    Raises:
        KeyError: it has none.
    """
    return {**weights, STRENGTH: torch.zeros_like(weights[STRENGTH])}


class Refiner(nn.Module):
    """What every refiner has: a strength, at which its change is added to the logits of the gated voxels.

    Attributes:
        alpha: the strength, a buffer: a Python number would recompile torch.compile's graph each epoch, and would be
            lost at prediction.
    """

    alpha: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("alpha", torch.zeros(()))

    def refine(self, logits: Tensor, refinement: Refinement) -> Tensor:
        """(B, O, *S) base logits with alpha times the change."""
        return add_change(logits, refinement.gate, self.alpha * refinement.change)
