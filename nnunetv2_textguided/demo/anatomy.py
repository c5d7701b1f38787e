"""A procedural male pelvis around a prostate with its zones, drawn from a seed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nnunetv2_textguided.demo import tissue as t
from nnunetv2_textguided.demo.pathology import Gland, Lesion, Points, paint_lesion, paint_nodules, paint_prostatitis
from nnunetv2_textguided.demo.shapes import Grid, Volume, ellipsoid, rim, smooth_field, soft
from nnunetv2_textguided.demo.tissue import TissueMap


@dataclass(frozen=True)
class Anatomy:
    """What a scanner would find: property maps and the truth, all of shape (Z, Y, X)."""

    tissue: TissueMap
    gland: Volume
    peripheral: Volume
    lesion: Volume
    """Soft masks, 0..1."""
    rectal_gas: Volume
    """Soft mask of the gas that distorts diffusion-weighted images."""
    lesions: tuple[Lesion, ...]


def draw_anatomy(rng: np.random.Generator, grid: Grid, lesions: int) -> Anatomy:
    """Draw one patient.

    Args:
        rng: the only source of chance.
        grid: voxels.
        lesions: number of clinically significant lesions.
    """
    points = _warped(rng, grid)
    gland = _draw_gland(rng, points)
    canvas = TissueMap(grid, t.FAT)
    gas = _paint_surroundings(rng, grid, canvas, points, gland)
    inside, peripheral = _paint_zones(rng, grid, canvas, points, gland)
    paint_nodules(rng, canvas, points, gland)
    paint_prostatitis(rng, canvas, points, gland, peripheral)
    _paint_urethra(canvas, points, gland)
    for _ in range(int(rng.integers(0, 3))):  # indolent foci, which are not labelled and must not be called
        paint_lesion(rng, grid, canvas, points, gland, inside, conspicuity=rng.uniform(0.1, 0.25), small=True)
    lesion, found = np.zeros(grid.size, np.float32), []
    for _ in range(lesions):
        mask, facts = paint_lesion(rng, grid, canvas, points, gland, inside, conspicuity=rng.uniform(0.4, 1.0))
        lesion = np.maximum(lesion, mask)
        found.append(facts)
    canvas.paint(t.CAPSULE, 0.6 * rim(gland.outline, 0.7))
    return Anatomy(canvas, inside, peripheral, lesion, gas, tuple(found))


def _warped(rng: np.random.Generator, grid: Grid) -> Points:
    """Coordinates bent by up to a few mm, so that nothing is a perfect ellipsoid."""
    z, y, x = grid.points()
    bend = [smooth_field(rng, grid, 10.0) for _ in range(2)]
    return z, y + 1.1 * bend[0], x + 1.1 * bend[1]


def _draw_gland(rng: np.random.Generator, points: Points) -> Gland:
    fullness = float(rng.uniform(0.15, 1.0))
    rx, ry = rng.uniform(22, 25) + 3 * fullness, rng.uniform(14, 15.5) + 4 * fullness
    rz = rng.uniform(17, 19) + 3 * fullness
    centre = (float(rng.normal(0, 1.0)), float(-5 + rng.normal(0, 1.0)), float(rng.normal(0, 1.0)))
    z, y, x = (p - np.float32(c) for p, c in zip(points, centre, strict=True))
    # The apex and the front are narrower than the base, and the rectum dents the back.
    narrow = 1 + 0.3 * np.clip(-z / rz, 0, 1) + 0.18 * np.clip(-y / ry, 0, 1)
    dent = rng.uniform(1.0, 3.0) * np.exp(-((x / 9) ** 2)) * np.clip(y / ry, 0, 1)
    body = (z, y + dent, x * narrow)
    # An enlarged transition zone presses the peripheral zone into a thin shell.
    size = 0.52 + 0.26 * fullness
    lobes = np.maximum(
        *(
            ellipsoid(
                (z, y, x),
                (0.12 * rz, (0.02 - 0.22 * size) * ry, side * 0.42 * size * rx),
                (0.82 * rz, rng.uniform(0.9, 1.0) * size * ry, rng.uniform(0.58, 0.68) * size * rx),
            )
            for side in (-1, 1)
        )
    )
    return Gland(
        centre,
        (rz, ry, rx),
        ellipsoid(body, (0, 0, 0), (rz, ry, rx)),
        lobes,
        ellipsoid((z, y, x), (0, -0.95 * ry, 0), (0.9 * rz, 0.4 * ry, 0.62 * rx)),
        ellipsoid((z, y, x), (0.72 * rz, 0.38 * ry, 0), (0.34 * rz, 0.3 * ry, 0.42 * rx)),
        fullness,
    )


def _paint_surroundings(
    rng: np.random.Generator, grid: Grid, canvas: TissueMap, points: Points, gland: Gland
) -> Volume:
    z, y, x = points
    rz, ry, rx = gland.radii
    canvas.texture(np.full(grid.size, 0.10, np.float32), smooth_field(rng, grid, 1.5))
    # Obturator internus at the sides; levator ani as a sling between it and the gland, closer below.
    bulge = 3.0 * np.exp(-(((y + 12) / 14) ** 2)) + 0.12 * np.maximum(-z, 0)
    pelvic_wall = (np.abs(x) - (rx + rng.uniform(6, 8) - bulge)).astype(np.float32)
    canvas.paint(t.MUSCLE, soft(pelvic_wall))
    course = rx + 2.6 - 0.35 * np.maximum(-z - 0.2 * rz, 0) - 0.012 * np.maximum(y - 2, 0) ** 2
    sling = 1.3 - np.abs(np.abs(x) - course)
    canvas.paint(t.MUSCLE, soft(sling, 0.4) * soft(y + 0.5 * ry, 1.5) * soft(0.8 * rz - z, 2.0))
    # Veins in front of the gland and neurovascular bundles behind it.
    for _ in range(int(rng.integers(8, 14))):
        where = (
            float(rng.uniform(-0.8, 0.8) * rz),
            gland.centre[1] - ry - rng.uniform(1, 5),
            rng.uniform(-0.7, 0.7) * rx,
        )
        canvas.paint(t.VESSEL, soft(ellipsoid(points, where, (4.0, rng.uniform(1, 1.8), rng.uniform(1.2, 3.0))), 0.5))
    for side in (-1, 1):
        for _ in range(3):
            where = (0.0, gland.centre[1] + rng.uniform(0.75, 0.95) * ry, side * rng.uniform(0.72, 0.85) * rx)
            canvas.paint(t.VESSEL, soft(ellipsoid(points, where, (30, 1.0, 1.0)), 0.5))
    _paint_vesicles_and_bladder(rng, grid, canvas, points, gland)
    radii = (60.0, rng.uniform(7, 10), rng.uniform(10, 14))
    rectum = ellipsoid(points, (0.0, gland.centre[1] + ry + radii[1] + 0.5, float(rng.normal(0, 2))), radii)
    canvas.paint(t.RECTAL_WALL, soft(rectum))
    lumen = soft(rectum - 3.0)
    gas = lumen * float(rng.random() < 0.5)
    canvas.paint(t.STOOL, lumen)
    canvas.paint(t.GAS, gas)
    return gas


def _paint_vesicles_and_bladder(
    rng: np.random.Generator, grid: Grid, canvas: TissueMap, points: Points, gland: Gland
) -> None:
    rz, ry, rx = gland.radii
    top = gland.centre[0] + rz
    bladder = ellipsoid(points, (top + 14, gland.centre[1] - 0.5 * ry, 0), (16, 1.0 * ry, 0.95 * rx))
    canvas.paint(t.MUSCLE, soft(bladder + 2.5))
    canvas.paint(t.URINE, soft(bladder))
    tubules = smooth_field(rng, grid, 1.2)
    for side in (-1, 1):
        vesicle = ellipsoid(
            points, (top + 2, gland.centre[1] + 0.62 * ry, side * 0.45 * rx), (6, 4.5, 0.5 * rx), turn=side * 0.35
        )
        canvas.paint(t.CAPSULE, 0.8 * soft(vesicle))
        canvas.paint(t.SEMINAL_VESICLE, soft(vesicle - 0.5) * soft(0.4 + tubules, 0.3))


def _paint_zones(
    rng: np.random.Generator, grid: Grid, canvas: TissueMap, points: Points, gland: Gland
) -> tuple[Volume, Volume]:
    """Paint the zones with their textures; returns the soft masks of the gland and of its peripheral zone."""
    z, y, x = (p - np.float32(c) for p, c in zip(points, gland.centre, strict=True))
    inside, lobes = soft(gland.outline), soft(gland.lobes, 0.6)
    front = np.maximum(soft(gland.stroma, 1.0), soft(-(y + 0.5 * gland.radii[1]), 1.5))
    central = soft(gland.central, 1.2) * (1 - lobes)
    peripheral = inside * (1 - lobes) * (1 - front) * (1 - central)
    canvas.paint(t.PERIPHERAL_ZONE, inside)
    canvas.paint(t.ANTERIOR_STROMA, inside * front)
    canvas.paint(t.CENTRAL_ZONE, inside * central)
    canvas.paint(t.TRANSITION_ZONE, inside * lobes)
    canvas.paint(t.CAPSULE, 0.5 * inside * rim(gland.lobes, 0.8))
    # Septa of the peripheral zone radiate from the urethra: noise that varies with the angle, hardly with the radius.
    spokes = np.zeros(grid.size, np.float32)
    angle = np.arctan2(x, y + 4) + 0.12 * smooth_field(rng, grid, 6.0)
    for frequency in range(6, 27, 3):
        spokes += np.cos(frequency * angle + rng.uniform(0, 2 * math.pi) + rng.normal(0, 0.2) * z).astype(np.float32)
    canvas.texture(0.05 * peripheral * np.clip(1 + 0.6 * smooth_field(rng, grid, 5.0), 0, 2), spokes)
    canvas.texture(0.08 * inside, smooth_field(rng, grid, 1.0))
    canvas.texture(0.12 * inside * lobes, smooth_field(rng, grid, 2.5))
    return inside, peripheral


def _paint_urethra(canvas: TissueMap, points: Points, gland: Gland) -> None:
    z, y, x = gland.centre
    course = (points[0], points[1] - 0.12 * (points[0] - z), points[2])
    tube = ellipsoid(course, (z, y - 0.5, x), (100.0, 2.2, 2.6))
    canvas.paint(t.MUSCLE, 0.6 * soft(tube + 1.0) * soft(gland.radii[0] + 4 - np.abs(points[0] - z), 1.5))
    canvas.paint(t.URETHRA, 0.8 * soft(tube - 0.8) * soft(gland.radii[0] - np.abs(points[0] - z), 1.5))
