"""Volumes as film strips: all slices below each other in one small image, of which a page shows one frame."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nnunetv2_textguided.demo.shapes import Volume
from nnunetv2_textguided.pages.render import data_uri

Colour: TypeAlias = tuple[int, int, int]

IMAGE_SCALE, CONTOUR_SCALE = 3, 4
LINE_WIDTH = 2.4  # pixels of the enlarged slice
LEVELS = 64


def display_range(name: str, volume: Volume) -> tuple[float, float]:
    """Black and white level of a channel: fixed for ADC, which is quantitative, by percentile for the others."""
    if name == "ADC":
        return 0.0, 2200.0
    return 0.0, float(np.percentile(volume, 99.9 if name == "HBV" else 99.7))


def image_strip(volume: Volume, window: tuple[float, float]) -> str:
    """Data URI of the grey slices of a (Z, Y, X) volume, enlarged smoothly."""
    from PIL import Image

    low, high = window
    grey = np.clip((volume - low) / max(high - low, 1e-6), 0, 1)
    large = ndimage.zoom(grey, (1, IMAGE_SCALE, IMAGE_SCALE), order=3, mode="nearest", grid_mode=True)
    pixels = np.round(255 * np.clip(large, 0, 1)).astype(np.uint8).reshape(-1, large.shape[2])
    file = io.BytesIO()
    Image.fromarray(pixels, "L").save(file, "JPEG", quality=84, optimize=True)
    return data_uri(file.getvalue(), "image/jpeg")


def contour_strip(mask: NDArray[np.bool_], colour: Colour) -> str:
    """Data URI of the outlines of a (Z, Y, X) mask, transparent elsewhere.

    Args:
        mask: the mask.
        colour: red, green, blue, 0..255.
    """
    factors = (1, CONTOUR_SCALE, CONTOUR_SCALE)
    large = ndimage.zoom(mask.astype(np.float32), factors, order=1, mode="grid-constant", grid_mode=True)
    smooth = ndimage.gaussian_filter(large, (0, CONTOUR_SCALE / 2, CONTOUR_SCALE / 2))
    slope = np.hypot(*np.gradient(smooth, axis=(1, 2)))
    # First-order distance in pixels to the level 0.5.
    distance = np.abs(smooth - 0.5) / np.maximum(slope, 1e-4)
    opacity = np.clip(0.5 + LINE_WIDTH / 2 - distance, 0, 1)
    return _indexed(opacity, [(*colour, round(255 * i / (LEVELS - 1))) for i in range(LEVELS)])


def heat_strip(heatmap: Volume) -> str:
    """Data URI of a (Z, Y, X) map in (0, 1): hotter is brighter and more opaque."""
    return _indexed(heatmap, heat_colours())


def gate_strip(gate: NDArray[np.bool_], colour: Colour) -> str:
    """Data URI of a (Z, Y, X) mask, filled."""
    return _indexed(gate.astype(np.float32), [(*colour, round(190 * i / (LEVELS - 1))) for i in range(LEVELS)])


def change_strip(change: Volume, limit: float) -> str:
    """Data URI of a signed (Z, Y, X) map from -limit (blue) over nothing to +limit (red)."""
    return _indexed(np.clip(0.5 + 0.5 * change / max(limit, 1e-9), 0, 1), change_colours())


def heat_colours() -> list[tuple[int, int, int, int]]:
    """Red, green, blue, opacity of each level of a heatmap."""
    from matplotlib import colormaps

    ramp = colormaps["inferno"](np.linspace(0.15, 1.0, LEVELS))
    ramp[:, 3] = np.clip((np.linspace(0, 1, LEVELS) - 0.04) * 2.2, 0, 0.85)
    return _rgba(ramp)


def change_colours() -> list[tuple[int, int, int, int]]:
    """Red, green, blue, opacity of each level of a signed change; the middle is transparent."""
    from matplotlib import colormaps

    position = np.linspace(-1, 1, LEVELS)
    ramp = colormaps["RdBu_r"](0.5 + 0.42 * np.sign(position))
    # As opaque as the change is large, so that the scale can be read; the two middle levels are no change.
    ramp[:, 3] = np.where(np.abs(position) > 1.5 / (LEVELS - 1), 0.95 * np.abs(position), 0)
    return _rgba(ramp)


def _rgba(ramp: NDArray) -> list[tuple[int, int, int, int]]:
    return [(int(r), int(g), int(b), int(a)) for r, g, b, a in np.round(255 * ramp)]


def _indexed(values: NDArray, colours: Sequence[tuple[int, int, int, int]]) -> str:
    """PNG with a palette: values (Z, Y, X) in 0..1 pick one of the LEVELS colours."""
    from PIL import Image

    levels = np.round(values * (LEVELS - 1)).astype(np.uint8).reshape(-1, values.shape[2])
    image = Image.fromarray(levels, "P")
    image.putpalette([part for colour in colours for part in colour[:3]])
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True, transparency=bytes(colour[3] for colour in colours))
    return data_uri(file.getvalue(), "image/png")
