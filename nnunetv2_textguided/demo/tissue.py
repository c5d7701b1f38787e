"""What the phantom is made of: per voxel, proton density, T2 and diffusion. Images follow from these in scanner.py."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnunetv2_textguided.demo.shapes import Grid, Volume


@dataclass(frozen=True)
class Tissue:
    """Physical properties of one tissue, of the order that the literature gives for 3 T."""

    density: float
    """Proton density, relative to urine."""
    t2: float
    """Transverse relaxation time in ms."""
    adc: float
    """Apparent diffusion coefficient in 1e-6 mm2/s."""
    fat: bool = False
    """Fat is suppressed in diffusion-weighted imaging."""


FAT = Tissue(0.80, 128, 250, fat=True)
MUSCLE = Tissue(0.75, 36, 1350)
RECTAL_WALL = Tissue(0.80, 65, 1350)
GAS = Tissue(0.0, 40, 1000)
STOOL = Tissue(0.45, 60, 1100)
URINE = Tissue(1.0, 320, 2900)
SEMINAL_VESICLE = Tissue(0.95, 210, 1800)
VESSEL = Tissue(0.90, 190, 1700)
CAPSULE = Tissue(0.65, 45, 1100)
PERIPHERAL_ZONE = Tissue(0.90, 180, 1750)
TRANSITION_ZONE = Tissue(0.82, 92, 1320)
CENTRAL_ZONE = Tissue(0.80, 78, 1180)
ANTERIOR_STROMA = Tissue(0.70, 52, 1150)
GLANDULAR_NODULE = Tissue(0.92, 155, 1650)
STROMAL_NODULE = Tissue(0.75, 68, 1080)
PROSTATITIS = Tissue(0.85, 100, 1380)
URETHRA = Tissue(0.95, 180, 1900)
CANCER = Tissue(0.82, 70, 640)


class TissueMap:
    """Property maps of shape (Z, Y, X) on which tissues are painted one over the other."""

    def __init__(self, grid: Grid, ground: Tissue) -> None:
        self.density = np.full(grid.size, ground.density, np.float32)
        self.t2 = np.full(grid.size, ground.t2, np.float32)
        self.adc = np.full(grid.size, ground.adc, np.float32)
        self.fat = np.full(grid.size, float(ground.fat), np.float32)

    def paint(self, tissue: Tissue, fraction: Volume | float) -> None:
        """Replace `fraction` (0..1, shape (Z, Y, X)) of each voxel by `tissue`."""
        for values, value in (
            (self.density, tissue.density),
            (self.t2, tissue.t2),
            (self.adc, tissue.adc),
            (self.fat, float(tissue.fat)),
        ):
            values += fraction * (value - values)

    def texture(self, amount: Volume, field: Volume) -> None:
        """Vary T2 by a factor exp(amount * field), and diffusion by half as much: real tissue is never uniform."""
        self.t2 *= np.exp(amount * field)
        self.adc *= np.exp(0.5 * amount * field)
