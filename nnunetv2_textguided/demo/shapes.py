"""The grid of a phantom and the soft shapes and textures that are drawn on it. All lengths in mm, axes (z, y, x)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nnunetv2_textguided.errors import DataError

Volume: TypeAlias = NDArray[np.float32]
Point: TypeAlias = tuple[float, float, float]

# A prostate of up to 58 x 42 x 46 mm (left-right, front-back, foot-head) has to fit, or the anatomy makes no sense.
SMALLEST_FIELD_OF_VIEW = (36.0, 56.0, 56.0)


@dataclass(frozen=True)
class Grid:
    """Voxels of a case: `size` (z, y, x) and `spacing` (z, y, x) in mm; z points to the head, y back, x to the left.

    Raises:
        DataError: not three positive, finite numbers each, or a field of view in which a prostate does not fit.
    """

    size: tuple[int, int, int] = (16, 80, 80)
    spacing: Point = (3.0, 0.9, 0.9)

    def __post_init__(self) -> None:
        if len(self.size) != 3 or len(self.spacing) != 3:
            raise DataError(f"A phantom has three axes, not {len(self.size)} sizes and {len(self.spacing)} spacings.")
        if min(self.size) < 1 or not all(math.isfinite(s) and s > 0 for s in self.spacing):
            raise DataError(f"Sizes and spacings must be positive, not {self.size} and {self.spacing}.")
        for name, size, spacing, needed in zip("zyx", self.size, self.spacing, SMALLEST_FIELD_OF_VIEW, strict=True):
            if size * spacing < needed:
                raise DataError(
                    f"The field of view along {name} is {size * spacing:g} mm; a prostate needs {needed:g} mm.",
                    remedy="Use more voxels or a larger spacing.",
                )

    def points(self) -> tuple[Volume, Volume, Volume]:
        """Coordinates (z, y, x) of all voxel centres in mm from the centre of the grid, each of shape (Z, Y, X)."""
        axes = [
            (np.arange(n, dtype=np.float32) - (n - 1) / 2) * np.float32(s)
            for n, s in zip(self.size, self.spacing, strict=True)
        ]
        z, y, x = np.meshgrid(*axes, indexing="ij")
        return z, y, x


def smooth_field(rng: np.random.Generator, grid: Grid, length: float) -> Volume:
    """Gaussian random field (Z, Y, X) of mean 0 and standard deviation 1 with correlation length `length` mm."""
    sigma = [length / s for s in grid.spacing]
    field = ndimage.gaussian_filter(rng.standard_normal(grid.size, dtype=np.float32), sigma, mode="reflect")
    return ((field - field.mean()) / max(float(field.std()), 1e-6)).astype(np.float32)


def ellipsoid(points: tuple[Volume, Volume, Volume], centre: Point, radii: Point, *, turn: float = 0.0) -> Volume:
    """Signed distance in mm (positive inside), to first order, of an ellipsoid turned by `turn` radians about z."""
    z, y, x = (p - np.float32(c) for p, c in zip(points, centre, strict=True))
    if turn:
        cosine, sine = math.cos(turn), math.sin(turn)
        y, x = cosine * y + sine * x, cosine * x - sine * y
    scaled = [axis / np.float32(radius) for axis, radius in zip((z, y, x), radii, strict=True)]
    q = np.sqrt(sum(s * s for s in scaled))
    gradient = np.sqrt(sum((s / np.float32(r)) ** 2 for s, r in zip(scaled, radii, strict=True)))
    # First-order distance (1 - q) / |grad q|, where |grad q| = gradient / q; at the centre it is the smallest radius.
    return np.where(q > 0.05, (1 - q) * q / np.maximum(gradient, 1e-6), min(radii)).astype(np.float32)


def soft(distance: Volume, edge: float = 0.5) -> Volume:
    """Fraction of each voxel inside a shape, from the signed distance, with an edge about `edge` mm wide."""
    return (0.5 + 0.5 * np.tanh(distance / (2 * edge))).astype(np.float32)


def rim(distance: Volume, thickness: float) -> Volume:
    """Fraction of each voxel in a shell of `thickness` mm just inside a shape's surface."""
    return np.exp(-(((distance - thickness / 2) / thickness) ** 2)).astype(np.float32)
