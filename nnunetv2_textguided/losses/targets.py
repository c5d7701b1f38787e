"""Labels on the similarity map's grid: area averages, computed without a one-hot volume."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class MapTarget:
    """What a map voxel covers, as shares of its volume.

    Attributes:
        foreground: (B, C, *s) share that carries label c.
        valid: (B, 1, *s) share that is not ignored; the rest teaches nothing.
    """

    foreground: Tensor
    valid: Tensor

    @property
    def background(self) -> Tensor:
        """(B, C, *s) share that is known not to carry label c."""
        return self.valid - self.foreground


@torch.no_grad()
def map_target(
    target: Tensor, grid: Sequence[int], labels: Sequence[int] | None, ignore_label: int | None
) -> MapTarget:
    """Average a full-resolution target over the cells of a coarser grid.

    Args:
        target: (B, 1, *S) label map; or, for region-based training (`labels` None), (B, R, *S) region masks, followed
            by a mask of ignored voxels if there is an ignore label (nnU-Net's layout).
        grid: s, the size of the similarity map.
        labels: the label value of each class; None for regions.
        ignore_label: the value of the ignore label; None: there is none.

    Raises:
        ValueError: a map axis does not divide the target's axis (nnU-Net's patches are always divisible).
    """
    cell = _cell(target, grid)

    def share(mask: Tensor) -> Tensor:
        return _count(mask, cell).float() / math.prod(cell)

    if labels is None:
        regions = target if ignore_label is None else target[:, :-1]
        foreground = share(regions)
        ignored = None if ignore_label is None else share(target[:, -1:])
    else:
        foreground = torch.cat([share(target == label) for label in labels], dim=1)
        ignored = None if ignore_label is None else share(target == ignore_label)
    valid = torch.ones_like(foreground[:, :1]) if ignored is None else 1 - ignored
    return MapTarget(foreground, valid)


def _cell(target: Tensor, grid: Sequence[int]) -> list[int]:
    """Voxels of the target per map voxel, along each axis."""
    for size, cells in zip(target.shape[2:], grid, strict=True):
        if size % cells:
            raise ValueError(f"a target axis of {size} voxels cannot be averaged over {cells} cells")
    return [size // cells for size, cells in zip(target.shape[2:], grid, strict=True)]


def _count(mask: Tensor, cell: Sequence[int]) -> Tensor:
    """(B, n, *S) mask -> (B, n, *s) number of its voxels in every cell.

    Axis by axis in the smallest integers that can hold a count: torch's sum would first copy the whole mask to float.
    """
    counts = mask.to(torch.uint8 if math.prod(cell) < 256 else torch.int32)
    for axis, size in enumerate(cell, start=2):
        parts = counts.unflatten(axis, (-1, size)).unbind(axis + 1)
        counts = parts[0]
        for part in parts[1:]:
            counts = counts + part
    return counts
