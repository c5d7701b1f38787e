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
    blocks, axes = _blocks(target, grid)
    volume = blocks.numel() / (blocks.shape[0] * blocks.shape[1] * math.prod(grid))

    def share(mask: Tensor) -> Tensor:
        return mask.sum(dim=axes, dtype=torch.float32) / volume

    if labels is None:
        regions = blocks if ignore_label is None else blocks[:, :-1]
        foreground = share(regions)
        ignored = None if ignore_label is None else share(blocks[:, -1:])
    else:
        foreground = torch.cat([share(blocks == label) for label in labels], dim=1)
        ignored = None if ignore_label is None else share(blocks == ignore_label)
    valid = torch.ones_like(foreground[:, :1]) if ignored is None else 1 - ignored
    return MapTarget(foreground, valid)


def _blocks(target: Tensor, grid: Sequence[int]) -> tuple[Tensor, list[int]]:
    """`target` with every spatial axis split into (cell, offset), and the positions of the offset axes."""
    shape: list[int] = list(target.shape[:2])
    for size, cells in zip(target.shape[2:], grid, strict=True):
        if size % cells:
            raise ValueError(f"a target axis of {size} voxels cannot be averaged over {cells} cells")
        shape += [cells, size // cells]
    return target.reshape(shape), list(range(3, len(shape), 2))
