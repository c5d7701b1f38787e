"""A simulated reader of rendered studies: where lesions are, and what is said of them, with stated errors."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from nnunetv2_textguided.anatomy.sectors import SECTORS, Sector, affine_of, sector_map

SIDES = {"right": "left", "left": "right"}
FLIPPED = {"anterior": "posterior", "posterior": "anterior"}
ZONES = {"peripheral zone": "transition zone", "transition zone": "peripheral zone"}


@dataclass(frozen=True)
class Reader:
    """How often a simulated reader errs, per lesion.

    Attributes:
        neighbour: names the sector beside, of another level or depth.
        side: names the other side.
        missed: does not report the lesion.
        size: standard deviation of the logarithm of the reported diameter.
    """

    neighbour: float = 0.2
    side: float = 0.05
    missed: float = 0.05
    size: float = 0.2


def misread(sector: Sector, reader: Reader, rng: random.Random) -> Sector | None:
    """The sector that the reader names; None: the lesion is missed."""
    drawn = rng.random()
    if drawn < reader.missed:
        return None
    if drawn < reader.missed + reader.side:
        return sector._replace(side=SIDES[str(sector.side)])
    if drawn < reader.missed + reader.side + reader.neighbour:
        if rng.random() < 0.5:
            return sector._replace(depth=FLIPPED[str(sector.depth)])
        level = rng.choice(["apex", "base"]) if sector.level == "mid-gland" else "mid-gland"
        return sector._replace(level=level)
    return sector


def opposite(sector: Sector) -> Sector:
    """The sector of the other zone, side and depth."""
    zone, side, depth = ZONES[str(sector.zone)], SIDES[str(sector.side)], FLIPPED[str(sector.depth)]
    return sector._replace(zone=zone, side=side, depth=depth)


def lesions_of(path: Path, anatomy: Path, zones: Path) -> Iterator[tuple[Sector, float]]:
    """Sector and largest diameter (mm) of each lesion; writes the case's zone mask.

    The challenge's zone masks have holes where lesions are, which would tell where they are: such voxels get the
    nearest zone.

    Args:
        path: label map, lesion 1.
        anatomy: its zones, as they are.
        zones: file for the zones without holes.
    """
    label = sitk.ReadImage(str(path))
    lesion = sitk.GetArrayFromImage(label) == 1
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(anatomy)))
    size = label.GetSpacing()[::-1]
    nearest = ndimage.distance_transform_edt(found == 0, sampling=size, return_distances=False, return_indices=True)
    filled = np.where(lesion & (found == 0), found[tuple(nearest)], found).astype(np.uint8)
    image = sitk.GetImageFromArray(filled)
    image.CopyInformation(label)
    sitk.WriteImage(image, str(zones), True)
    sectors = sector_map(filled, affine_of(label.GetSpacing(), label.GetOrigin(), label.GetDirection()))
    parts, number = ndimage.label(lesion, np.ones((3, 3, 3)))
    for part in range(1, number + 1):
        points = np.argwhere(parts == part) * np.asarray(size)
        diameter = max(float(np.linalg.norm(points - point, axis=1).max()) for point in points)
        values = sectors[(parts == part) & (sectors > 0)]
        if len(values):
            yield SECTORS[int(np.bincount(values).argmax()) - 1], max(diameter, min(size))
