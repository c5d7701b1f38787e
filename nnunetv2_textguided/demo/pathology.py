"""What grows in the phantom's prostate: benign nodules, prostatitis, and lesions of varying conspicuity."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nnunetv2_textguided.demo import tissue as t
from nnunetv2_textguided.demo.shapes import Grid, Point, Volume, ellipsoid, rim, smooth_field, soft
from nnunetv2_textguided.demo.tissue import Tissue, TissueMap

Points = tuple[Volume, Volume, Volume]


@dataclass(frozen=True)
class Lesion:
    """One clinically significant lesion."""

    zone: str
    """"PZ" or "TZ": where its centre lies."""
    diameter: float
    """Mean diameter in mm."""
    conspicuity: float
    """0: looks like the tissue around it; 1: as different as cancer gets."""


@dataclass(frozen=True)
class Gland:
    """Signed distances in mm (positive inside) of the gland and its parts, each of shape (Z, Y, X)."""

    centre: Point
    radii: Point
    outline: Volume
    lobes: Volume
    stroma: Volume
    central: Volume
    fullness: float
    """How enlarged the transition zone is, 0..1."""


def paint_nodules(rng: np.random.Generator, canvas: TissueMap, points: Points, gland: Gland) -> None:
    """Benign hyperplasia: round, encapsulated nodules; the stromal ones are dark and mimic cancer."""
    within = soft(gland.lobes - 0.5)
    candidates = np.flatnonzero(gland.lobes > 2.5)
    if not candidates.size:
        return
    for _ in range(int(rng.integers(2, 4 + int(6 * gland.fullness)))):
        centre = _at(points, int(rng.choice(candidates)))
        radius = float(rng.uniform(2.5, 4.0 + 3.0 * gland.fullness))
        radii = (radius, radius * rng.uniform(0.8, 1.1), radius * rng.uniform(0.8, 1.1))
        kind: Tissue = (t.GLANDULAR_NODULE, t.STROMAL_NODULE)[int(rng.random() < 0.4)]
        distance = ellipsoid(points, centre, radii)
        canvas.paint(kind, rng.uniform(0.5, 0.95) * soft(distance, 0.4) * within)
        canvas.paint(t.CAPSULE, 0.75 * rim(distance, 0.8) * within)


def paint_prostatitis(
    rng: np.random.Generator, canvas: TissueMap, points: Points, gland: Gland, peripheral: Volume
) -> None:
    """Wedges in the peripheral zone: dark on T2W, hardly restricted in diffusion, and not labelled."""
    z, y, x = (p - np.float32(c) for p, c in zip(points, gland.centre, strict=True))
    angle = np.arctan2(x, y + 0.3 * gland.radii[1])
    for _ in range(int(rng.integers(0, 4))):
        middle, width = rng.uniform(-1.5, 1.5), rng.uniform(0.08, 0.25)
        thick = np.exp(-(((z - rng.uniform(-0.7, 0.7) * gland.radii[0]) / rng.uniform(4, 9)) ** 2))
        wedge = soft(18 * (width - np.abs(angle - middle)), 0.8) * thick * peripheral
        canvas.paint(t.PROSTATITIS, rng.uniform(0.4, 0.9) * wedge)


def paint_lesion(
    rng: np.random.Generator,
    grid: Grid,
    canvas: TissueMap,
    points: Points,
    gland: Gland,
    inside: Volume,
    *,
    conspicuity: float,
    small: bool = False,
) -> tuple[Volume, Lesion]:
    """Paint a lesion; returns its soft mask and its facts.

    Peripheral ones lie flat against the capsule, transition zone ones are lens-shaped, ill-defined and lie in front.
    """
    zone = "PZ" if rng.random() < 0.7 else "TZ"
    centre, turn = _lesion_site(rng, grid, points, gland, zone)
    radius = float(rng.uniform(2.5, 3.5) if small else rng.uniform(4.5, 8.0))
    flat, wide = (0.75, 1.2) if zone == "PZ" else (0.7, 1.35)
    distance = ellipsoid(points, centre, (1.1 * radius, flat * radius, wide * radius), turn=turn)
    distance += 0.15 * radius * smooth_field(rng, grid, 0.5 * radius)
    mask = soft(distance, 0.5 if zone == "PZ" else 0.9) * inside
    canvas.paint(t.CANCER, conspicuity * mask)
    return mask, Lesion(zone, round(2 * radius * (1.1 * flat * wide) ** (1 / 3), 1), round(conspicuity, 2))


def _lesion_site(rng: np.random.Generator, grid: Grid, points: Points, gland: Gland, zone: str) -> tuple[Point, float]:
    """A centre in mm, and the turn in the axial plane that lays the lesion along the capsule."""
    z, y, _ = (p - np.float32(c) for p, c in zip(points, gland.centre, strict=True))
    central = np.abs(z) < 0.55 * gland.radii[0]
    depth = gland.outline
    if zone == "PZ":
        site = (depth > 2) & (depth < 5) & (gland.lobes < 0) & (gland.stroma < -2) & (y > -0.1 * gland.radii[1])
    else:
        site = (gland.lobes > 1.5) & (y < -0.1 * gland.radii[1])
    candidates = np.flatnonzero(central & site)
    if not candidates.size:  # a very full or very slim gland: anywhere well inside it
        candidates = np.flatnonzero(central & (depth > 0.5 * float(depth.max())))
    index = int(rng.choice(candidates))
    if zone == "TZ":
        return _at(points, index), 0.0
    down, across = (np.gradient(depth, s, axis=a).flat[index] for a, s in ((1, grid.spacing[1]), (2, grid.spacing[2])))
    return _at(points, index), math.atan2(across, down)


def _at(points: Points, index: int) -> Point:
    z, y, x = (float(p.flat[index]) for p in points)
    return z, y, x
