"""Where in the prostate something is: sectors of the zones as in PI-RADS, and their names.

A sector is zone x side x level x depth: peripheral or transition zone, right or left, apex, mid-gland or base, anterior
or posterior; 24 in all. Planes are the gland's own: its centre separates right from left and anterior from posterior,
thirds of its extent the levels. Everything is decided in the patient's coordinates (LPS: x to the left, y to the back,
z to the head, in mm), so oblique images and other orders of axes give the same sectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np

ZONES = ("peripheral zone", "transition zone")
"""By their value in picai_labels' zone masks: 1 and 2."""
SIDES = ("right", "left")
LEVELS = ("apex", "mid-gland", "base")
DEPTHS = ("anterior", "posterior")


class Sector(NamedTuple):
    """A place in the prostate; None: not said, any.

    Attributes:
        zone: one of ZONES.
        side: the patient's, one of SIDES.
        level: one of LEVELS, from the feet to the head.
        depth: one of DEPTHS.
    """

    zone: str | None = None
    side: str | None = None
    level: str | None = None
    depth: str | None = None

    def __str__(self) -> str:
        """`left posterior peripheral zone at mid-gland`."""
        level = {"apex": "at the apex", "mid-gland": "at mid-gland", "base": "at the base", None: ""}[self.level]
        return " ".join(word for word in (self.side, self.depth, self.zone or "prostate", level) if word)

    def contains(self, other: Sector) -> bool:
        """Whether `other` lies within this sector."""
        return all(mine is None or mine == theirs for mine, theirs in zip(self, other, strict=True))


SECTORS = tuple(Sector(*names) for names in product(ZONES, SIDES, LEVELS, DEPTHS))
"""All 24; the value of SECTORS[i] in a map is i + 1."""
ATTRIBUTES = tuple(
    tuple(sector[axis] == name for sector in SECTORS)
    for axis, names in enumerate((ZONES, SIDES, LEVELS, DEPTHS))
    for name in names
)
"""For each zone, side, level and depth, nine in all, which sectors have it."""


@dataclass(frozen=True)
class GlandFrame:
    """The planes of one gland, in the patient's coordinates.

    Attributes:
        centre: (x, y) of the gland's centre of mass, mm.
        lowest: z of its apex, mm.
        highest: z of its base, mm.
    """

    centre: tuple[float, float]
    lowest: float
    highest: float

    @classmethod
    def of(cls, gland: np.ndarray, affine: np.ndarray) -> GlandFrame | None:
        """The frame of a gland; None where the mask is empty.

        Args:
            gland: (Z, Y, X) mask.
            affine: (3, 4) from voxel indices (z, y, x) to LPS coordinates in mm.
        """
        points = to_patient(np.argwhere(gland), affine)
        if not len(points):
            return None
        # Half a voxel beyond the outermost centres, so that a gland of one slice has an extent.
        half = np.abs(affine[2, :3]).sum() / 2
        x, y = points[:, :2].mean(axis=0)
        return cls((float(x), float(y)), float(points[:, 2].min() - half), float(points[:, 2].max() + half))

    def locate(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Indices into SIDES, LEVELS and DEPTHS of (N, 3) LPS points; each (N,)."""
        side = (points[:, 0] > self.centre[0]).astype(int)
        thirds = (points[:, 2] - self.lowest) / (self.highest - self.lowest) * len(LEVELS)
        level = np.clip(np.floor(thirds), 0, len(LEVELS) - 1).astype(int)
        depth = (points[:, 1] > self.centre[1]).astype(int)
        return side, level, depth


def to_patient(indices: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """(N, 3) LPS coordinates, mm, of (N, 3) voxel indices (z, y, x).

    Args:
        indices: voxel indices.
        affine: (3, 4) as in `GlandFrame.of`.
    """
    return np.asarray(indices @ affine[:, :3].T + affine[:, 3], dtype=float)


def affine_of(spacing: tuple[float, ...], origin: tuple[float, ...], direction: tuple[float, ...]) -> np.ndarray:
    """(3, 4) from voxel indices (z, y, x) to LPS coordinates in mm, of SimpleITK's (x, y, z) geometry."""
    columns = np.asarray(direction, dtype=float).reshape(3, 3) * np.asarray(spacing, dtype=float)
    return np.column_stack([columns[:, ::-1], np.asarray(origin, dtype=float)])


def sector_map(zones: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """(Z, Y, X) uint8 map of SECTORS' values, 0 outside the zones.

    Args:
        zones: (Z, Y, X) label map: peripheral zone 1, transition zone 2.
        affine: (3, 4) as in `GlandFrame.of`.
    """
    sectors = np.zeros(zones.shape, dtype=np.uint8)
    inside = (zones >= 1) & (zones <= len(ZONES))
    frame = GlandFrame.of(inside, affine)
    if frame is None:
        return sectors
    places = np.argwhere(inside)
    side, level, depth = frame.locate(to_patient(places, affine))
    zone = zones[inside].astype(int) - 1
    shape = (len(ZONES), len(SIDES), len(LEVELS), len(DEPTHS))
    sectors[inside] = np.ravel_multi_index((zone, side, level, depth), shape) + 1
    return sectors


def values_within(sector: Sector) -> list[int]:
    """The values in a sector map that lie within `sector`."""
    return [value for value, one in enumerate(SECTORS, start=1) if sector.contains(one)]
