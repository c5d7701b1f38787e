"""Biparametric MRI of an anatomy: T2W on the fine grid; ADC and HBV from diffusion on a coarser, distorted one."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from nnunetv2_textguided.demo.anatomy import Anatomy
from nnunetv2_textguided.demo.shapes import Grid, Volume, smooth_field

T2W_ECHO_TIME, DWI_ECHO_TIME = 100.0, 70.0  # ms
DWI_IN_PLANE = 2.0  # mm: acquired voxels of diffusion-weighted imaging
LOW_B, MIDDLE_B, HIGH_B = 50.0, 800.0, 1400.0  # s/mm2: the first two give the ADC, the last is shown as HBV


def scan(rng: np.random.Generator, grid: Grid, anatomy: Anatomy) -> dict[str, Volume]:
    """Acquire the three images, each (Z, Y, X) on the same grid.

    Returns:
        "T2W" and "HBV" in arbitrary units, "ADC" in 1e-6 mm2/s.
    """
    adc, hbv = _diffusion(rng, grid, anatomy)
    return {"T2W": _t2w(rng, grid, anatomy), "ADC": adc, "HBV": hbv}


def _t2w(rng: np.random.Generator, grid: Grid, anatomy: Anatomy) -> Volume:
    tissue = anatomy.tissue
    signal = tissue.density * np.exp(-T2W_ECHO_TIME / tissue.t2)
    signal *= np.exp(rng.uniform(0.08, 0.2) * smooth_field(rng, grid, 22.0))  # sensitivity of the receiving coils
    # The slice profile and the readout blur a little; noise comes after them.
    signal = ndimage.gaussian_filter(signal, [0.0, 0.4 / grid.spacing[1], 0.4 / grid.spacing[2]])
    return _rician(rng, signal, 0.5 / rng.uniform(22, 40)) * np.float32(rng.uniform(500, 900))


def _diffusion(rng: np.random.Generator, grid: Grid, anatomy: Anatomy) -> tuple[Volume, Volume]:
    tissue = anatomy.tissue
    ground = tissue.density * (1 - 0.96 * tissue.fat) * np.exp(-DWI_ECHO_TIME / tissue.t2)
    where = _misregistration(rng, grid, anatomy.rectal_gas)
    noise = 0.5 / rng.uniform(60, 110)
    gain = np.exp(rng.uniform(0.05, 0.12) * smooth_field(rng, grid, 25.0))

    def acquire(b: float) -> Volume:
        signal = ground * gain * np.exp(-b * 1e-6 * tissue.adc)
        distorted = ndimage.map_coordinates(signal, where, order=1, mode="nearest")
        return _rician(rng, _coarse(distorted, grid), noise)

    low, middle, high = (acquire(b) for b in (LOW_B, MIDDLE_B, HIGH_B))
    adc = 1e6 * np.log(np.maximum(low, 1e-4) / np.maximum(middle, 1e-4)) / (MIDDLE_B - LOW_B)
    # Scanners mask the map where there is no signal to fit.
    adc = np.where(low > 6 * noise, np.clip(adc, 0, 3500), 0)
    fine_adc, fine_high = _fine(adc.astype(np.float32), grid), _fine(high, grid)
    return np.clip(fine_adc, 0, 3500), np.maximum(fine_high, 0) * np.float32(rng.uniform(500, 900))


def _misregistration(rng: np.random.Generator, grid: Grid, gas: Volume) -> list[Volume]:
    """Voxel coordinates (z, y, x) to sample at: the patient moved a little, and rectal gas stretches the image."""
    index = [np.asarray(i, np.float32) for i in np.indices(grid.size)]
    spread = ndimage.gaussian_filter(gas, [4.0 / s for s in grid.spacing])
    shift = rng.normal(0, 0.7, size=2)
    index[1] += ((shift[0] + rng.choice([-1, 1]) * 4.0 * spread) / grid.spacing[1]).astype(np.float32)
    index[2] += np.float32(shift[1] / grid.spacing[2])
    return index


def _coarse(image: Volume, grid: Grid) -> Volume:
    """Average onto the diffusion grid (same slices, DWI_IN_PLANE in plane)."""
    factors = [max(DWI_IN_PLANE / s, 1.0) for s in grid.spacing[1:]]
    smooth = ndimage.gaussian_filter(image, [0.0, *(0.42 * f for f in factors)])
    size = [max(round(n / f), 1) for n, f in zip(grid.size[1:], factors, strict=True)]
    return _resize(smooth, (grid.size[0], size[0], size[1]), order=1)


def _fine(image: Volume, grid: Grid) -> Volume:
    return _resize(image, grid.size, order=3)


def _resize(image: Volume, size: tuple[int, int, int], order: int) -> Volume:
    factors = [n / m for n, m in zip(size, image.shape, strict=True)]
    return ndimage.zoom(image, factors, order=order, mode="nearest", grid_mode=True).astype(np.float32)


def _rician(rng: np.random.Generator, signal: Volume, sigma: float) -> Volume:
    """Magnitude of the signal with Gaussian noise of `sigma` in both receiver channels."""
    real = signal + sigma * rng.standard_normal(signal.shape, dtype=np.float32)
    return np.hypot(real, sigma * rng.standard_normal(signal.shape, dtype=np.float32)).astype(np.float32)
