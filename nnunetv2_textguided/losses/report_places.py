"""Places in a patch: sectors, their surroundings, and bodies that lie in them. Pure functions of tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from nnunetv2_textguided.anatomy.sectors import SECTORS, Sector, values_within
from nnunetv2_textguided.text.report_target import FILLED

CUBE = (FILLED * math.pi / 6) ** (1 / 3)
"""Edge of a cube of a lesion's volume, relative to its largest diameter."""
HOLE_MM = 15.0
"""Holes of the zones belong to a place that reaches around them: to both sides of twice this distance."""
GLAND = Sector()


class Gland:
    """The sectors of a patch.

    Args:
        sectors: (Z, Y, X) map of them; other values above 0 are other structures.
        extents: (1 + K,) voxels of the whole case: all, then those of each sector.
        spacing: of a voxel, mm, for each axis of S.
    """

    def __init__(self, sectors: Tensor, extents: Sequence[int], spacing: Sequence[float]) -> None:
        # Outside of the image nnU-Net fills maps with -1.
        self.sectors, self.extents, self.spacing = sectors.long().clamp(min=0), extents, spacing
        self.holes = enclosed((self.sectors > 0) & (self.sectors <= len(SECTORS))) & (self.sectors == 0)

    def region(self, place: Sector) -> tuple[Tensor, Tensor]:
        """(Z, Y, X) bool, the voxels of a place, and the share of it that lies within the patch.

        A place of which the case has no voxel is anywhere in the gland.
        """
        values = values_within(place)
        if not (whole := sum(self.extents[value] for value in values)):
            values, whole = values_within(GLAND), sum(self.extents[1:])
        member = torch.zeros(256, dtype=torch.bool, device=self.sectors.device)
        member[values] = True
        region = member[self.sectors]
        # Many zone masks have holes where lesions are. They are filled from around, as if they told nothing.
        closed = ~grow(~grow(region, HOLE_MM, self.spacing), HOLE_MM, self.spacing)
        return region | (self.holes & closed), region.sum() / whole


def enclosed(mask: Tensor) -> Tensor:
    """(Z, Y, X) bool, voxels with parts of a mask (Z, Y, X) on all four sides within their slice."""
    sides = torch.ones_like(mask)
    for axis in (-1, -2):
        for turned in (mask, mask.flip(axis)):
            before = turned.to(torch.int8).cummax(dim=axis).values.bool()
            sides = sides & (before if turned is mask else before.flip(axis))
    return sides


def body_average(probability: Tensor, diameter: float, spacing: Sequence[float]) -> Tensor:
    """(Z, Y, X) mean of (Z, Y, X) probabilities over a cube of a lesion's volume, cut off at the patch's border."""
    reach = [max(round((CUBE * diameter / step - 1) / 2), 0) for step in spacing]
    return _along_axes(probability, reach, lambda values, n: F.avg_pool1d(values, 2 * n + 1, 1, n, False, False))


def grow(mask: Tensor, distance: float, spacing: Sequence[float]) -> Tensor:
    """(Z, Y, X) bool mask, grown by a distance in mm along each axis."""
    reach = [round(distance / step) for step in spacing]
    return _along_axes(mask.float(), reach, lambda values, n: F.max_pool1d(values, 2 * n + 1, 1, n)) > 0


def _along_axes(values: Tensor, reach: Sequence[int], pool: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Pool (Z, Y, X) along one axis after the other: as a box, at a cost that grows with its edges only."""
    for axis, n in enumerate(reach):
        n = min(n, values.shape[axis] - 1)
        if n > 0:
            lines = values.movedim(axis, -1)
            values = pool(lines.reshape(-1, 1, lines.shape[-1]), n).view(lines.shape).movedim(-1, axis)
    return values


def around(place: Tensor, shape: Sequence[int], diameter: float, spacing: Sequence[float]) -> Tensor:
    """(Z, Y, X) bool, the places whose body would overlap with one of the same size at `place` (scalar: index)."""
    taken = torch.ones(tuple(shape), dtype=torch.bool, device=place.device)
    for axis in reversed(range(len(shape))):
        distance = (torch.arange(shape[axis], device=place.device) - place % shape[axis]).abs() * spacing[axis]
        taken = taken & (distance < CUBE * diameter).view(-1, *(1,) * (len(shape) - 1 - axis))
        place = place // shape[axis]
    return taken
