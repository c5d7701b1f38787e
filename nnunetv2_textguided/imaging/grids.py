"""Voxel grids that almost agree: compared by how far their corner voxels lie apart, in voxels.

Real headers of one examination differ by 1e-7 to 2e-4 in their direction cosines, which moves a corner voxel by less
than a tenth of a voxel. Another centre, extent or direction moves a corner by whole voxels.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from nnunetv2_textguided.errors import DataError

# Nearest-neighbour resampling is the identity as long as no voxel moves by half a voxel, so up to here two grids are
# one grid, and copying the header changes no voxel's value.
SAME_GRID_VOXELS = 0.5
ROUNDING_VOXELS = 0.05
"""What remains between channels that were written on one grid: the rounding of a NIfTI header."""


class HasGrid(Protocol):
    """What says where voxels lie: a SimpleITK image, or the reader of its header."""

    def GetSize(self) -> Sequence[int]:
        """Voxels (x, y, z)."""
        ...

    def GetSpacing(self) -> Sequence[float]:
        """Voxel size (x, y, z) in mm."""
        ...

    def GetOrigin(self) -> Sequence[float]:
        """Centre (x, y, z) of the first voxel in mm."""
        ...

    def GetDirection(self) -> Sequence[float]:
        """Rotation, row by row."""
        ...


@dataclass(frozen=True)
class Grid:
    """A voxel grid without its image; all in the order x, y(, z) and in mm."""

    size: tuple[int, ...]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]

    @classmethod
    def of(cls, image: HasGrid | Grid) -> Grid:
        """The grid of an image, or of an image's header."""
        if isinstance(image, Grid):
            return image
        parts = (image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
        return cls(*(tuple(part) for part in parts))  # type: ignore[arg-type]

    @classmethod
    def upright(cls, size: Sequence[int], spacing: Sequence[float]) -> Grid:
        """A grid of a file that says nothing of origin and direction."""
        return cls(tuple(size), tuple(map(float, spacing)), (0.0,) * len(size), tuple(np.eye(len(size)).ravel()))

    def affine(self) -> tuple[np.ndarray, np.ndarray]:
        """Matrix and offset that take a voxel index to mm."""
        axes = np.array(self.direction).reshape(len(self.size), -1)
        return axes * np.array(self.spacing), np.array(self.origin)


@dataclass(frozen=True)
class GridDifference:
    """How far one grid lies from another.

    Attributes:
        same_size: whether both have the same number of voxels along every axis.
        voxels: largest distance between corner voxels of the same index, in voxels of the reference (largest axis).
        millimetres: the same distance in mm.
        centres: distance of the centres of the two fields of view in mm.
        degrees: largest angle between two axes of the same number.
    """

    same_size: bool
    voxels: float
    millimetres: float
    centres: float = 0.0
    degrees: float = 0.0

    @property
    def same_grid(self) -> bool:
        """Whether the grids are one grid within tolerance."""
        return self.same_size and self.voxels < SAME_GRID_VOXELS

    def __str__(self) -> str:
        if not self.same_size:
            return "another size"
        turned = f", axes turned by {self.degrees:.0f} degrees" if self.degrees > 1 else ""
        moved = f", centres {self.centres:.1f} mm apart" if self.centres > 1 else ""
        return f"corners {self.voxels:.3f} voxels ({self.millimetres:.3f} mm) apart{moved}{turned}"


def compare_grids(image: HasGrid | Grid, reference: HasGrid | Grid) -> GridDifference:
    """Compare the grid of `image` with that of `reference` (both 3D, or both 2D)."""
    here, there = Grid.of(reference), Grid.of(image)
    (matrix, offset), (other_matrix, other_offset) = here.affine(), there.affine()
    corners = np.array(list(itertools.product(*((0, n - 1) for n in here.size))), dtype=float)
    shift = (corners @ other_matrix.T + other_offset) - (corners @ matrix.T + offset)
    voxels = np.abs(np.linalg.solve(matrix, shift.T))
    centres = [m @ (np.array(g.size) - 1) / 2 + o for m, o, g in
               ((matrix, offset, here), (other_matrix, other_offset, there))]  # fmt: skip
    cosines = ((matrix / np.linalg.norm(matrix, axis=0)) * (other_matrix / np.linalg.norm(other_matrix, axis=0))).sum(0)
    return GridDifference(
        here.size == there.size,
        float(voxels.max()),
        float(np.linalg.norm(shift, axis=1).max()),
        float(np.linalg.norm(centres[0] - centres[1])),
        float(np.degrees(np.arccos(np.clip(cosines.min(), -1, 1)))),
    )


def check_on_grid(image: HasGrid | Grid, reference: HasGrid | Grid, what: str, where: object) -> str | None:
    """Check that the voxels of `image` lie on those of `reference`: one rule for channels, labels and predictions.

    Args:
        image: what has to lie there.
        reference: where it has to lie, as a rule the case's first channel.
        what: the beginning of the sentence, such as "The channel is not on the grid of channel 0".
        where: the file.

    Returns:
        None where only rounding remains (ROUNDING_VOXELS); a remark where the grids differ by more, but by less than
        half a voxel (SAME_GRID_VOXELS), so that every voxel still lies on its counterpart.

    Raises:
        DataError: they differ in centre, extent, direction, size or number of axes.
    """
    axes = [len(Grid.of(one).size) for one in (image, reference)]
    if axes[0] != axes[1]:
        difference: Any = f"{axes[0]}D instead of {axes[1]}D"
    else:
        difference = compare_grids(image, reference)
        if difference.same_grid:
            return None if difference.voxels <= ROUNDING_VOXELS else f"{what} exactly: {difference}."
    raise DataError(
        f"{what}: {difference}.",
        where=where,
        remedy="Resample it onto that grid; where only the header is wrong, copy the other's.",
    )
