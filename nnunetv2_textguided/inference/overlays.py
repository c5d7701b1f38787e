"""Key slices as PNG: all channels side by side, with the outlines of the candidates, and the heatmap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nnunetv2_textguided.imaging.crop import Box, square_around
from nnunetv2_textguided.inference.lesions import Candidate, slice_axis

if TYPE_CHECKING:
    from PIL.Image import Image

PANEL = 320
"""Height of a panel in pixels."""
MAX_ROWS = 8
"""PI-CAI's extraction finds five candidates at most; the components of a mask can be hundreds."""
FIELD_MM = 90.0
"""Edge of what a panel shows in mm: a gland and what lies around it. More if gland and candidate need more."""
COLOURS = (
    (255, 196, 0), (0, 200, 255), (255, 90, 200), (90, 230, 90), (255, 130, 60), (150, 140, 255), (0, 230, 190),
    (230, 230, 120),
)  # fmt: skip
"""Of the candidates, by number; distinct on grey, also for the colour-blind as far as eight can be."""
HEAT = (255, 64, 32)
LINE, WIDTH = 18, 3
"""Height of the line of text above a row, and width of the outline of a row's own candidate, in pixels."""


@dataclass(frozen=True)
class Scene:
    """What is drawn. All arrays (z, y, x) on one grid.

    Attributes:
        channels: name and values of each image channel.
        numbers: number of the candidate at each voxel, 0 elsewhere.
        probability: probability of the lesion.
        heatmap: text-image similarity, if there is one.
        spacing: voxel size (z, y, x) in mm.
        gland: (z, y, x) bool, where the gland lies, if that is known: panels show it and are windowed by it.
    """

    channels: Sequence[tuple[str, np.ndarray]]
    numbers: np.ndarray
    probability: np.ndarray
    heatmap: np.ndarray | None
    spacing: tuple[float, ...]
    gland: np.ndarray | None = None


def draw(scene: Scene, candidates: Sequence[Candidate], title: str, path: Path) -> None:
    """Write one PNG with a row for each of the first candidates (MAX_ROWS of them).

    Without any, one row shows the slice of the largest probability.
    """
    from PIL import Image

    axis = slice_axis(scene.spacing)
    if candidates:
        rows = [(c.key_slice, c.candidate, f"{title}, {describe(c)}") for c in candidates[:MAX_ROWS]]
    else:
        peak = int(np.unravel_index(int(scene.probability.argmax()), scene.probability.shape)[axis])
        rows = [(peak, 0, f"{title}: no candidate; slice {peak} has the largest probability")]
    strips = [_row(scene, axis, *row) for row in rows]
    sheet = Image.new("RGB", (max(s.width for s in strips), sum(s.height for s in strips)), "black")
    top = 0
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height
    sheet.save(path, format="PNG", optimize=False)


def describe(candidate: Candidate) -> str:
    """One line on a candidate."""
    zone = f", {candidate.zone}" if candidate.zone else ""
    heat = "" if candidate.mean_heatmap is None else f", heatmap {candidate.mean_heatmap:.2f}"
    return (
        f"candidate {candidate.candidate}{zone}: confidence {candidate.confidence:.2f}{heat}, "
        f"{candidate.volume_ml:.2f} mL, {candidate.diameter_mm:.0f} mm (slice {candidate.key_slice})"
    )


def colour(number: int) -> tuple[int, int, int]:
    """Of a candidate, by its number from 1."""
    return COLOURS[(number - 1) % len(COLOURS)]


def _row(scene: Scene, axis: int, index: int, number: int, text: str) -> Image:
    """The strip of one candidate; number 0: of no candidate."""
    from PIL import Image, ImageDraw

    spacing = [s for i, s in enumerate(scene.spacing) if i != axis]
    box = square_around(_shown(scene, axis, index, number), spacing, FIELD_MM)
    numbers = _crop(np.take(scene.numbers, index, axis), box, spacing, smooth=False).astype(int)
    planes: list[tuple[str, np.ndarray, np.ndarray | None]] = [(*channel, None) for channel in scene.channels]
    if scene.heatmap is not None:
        name, values = scene.channels[0]
        planes.append((f"{name} and heatmap", values, _crop(np.take(scene.heatmap, index, axis), box, spacing)))
    panels = []
    for name, values, heat in planes:
        low, high = _window(scene, values, axis, box)
        grey = np.clip((np.take(values, index, axis) - low) / max(high - low, 1e-6), 0, 1)
        panels.append((name, _paint(_crop(grey, box, spacing), numbers, heat, number)))
    strip = Image.new("RGB", (sum(p.width for _, p in panels), PANEL + LINE), "black")
    pen, left = ImageDraw.Draw(strip), 0
    for name, panel in panels:
        strip.paste(panel, (left, LINE))
        pen.text((left + 4, LINE + 4), name, fill="white", stroke_width=1, stroke_fill="black")
        left += panel.width
    pen.text((4, 3), text, fill=colour(number) if number else "white")
    return strip


def _shown(scene: Scene, axis: int, index: int, number: int) -> np.ndarray:
    """What a row has to show of its slice, (y, x) bool: the candidate, and the whole gland where it is known."""
    shown = np.take(scene.numbers, index, axis) == number if number else np.zeros(1, dtype=bool)
    if scene.gland is not None and scene.gland.any():
        return shown | scene.gland.any(axis=axis)
    if number:
        return shown
    plane = np.take(scene.probability, index, axis)
    return plane == plane.max() if plane.max() > 0 else np.zeros(plane.shape, dtype=bool)


def _window(scene: Scene, values: np.ndarray, axis: int, box: Box) -> tuple[float, float]:
    """Black and white: percentiles of the gland, else of what the crop shows in all slices."""
    if scene.gland is not None and scene.gland.any():
        inside = values[scene.gland]
    else:
        top, left, height, width = box
        planes = np.moveaxis(values, axis, 0)
        inside = planes[:, int(top) : int(top + height) + 1, int(left) : int(left + width) + 1]
    low, high = np.percentile(inside, (0.5, 99.5))
    return float(low), float(high)


def _crop(plane: np.ndarray, box: Box, spacing: Sequence[float], smooth: bool = True) -> np.ndarray:
    """A part of a slice (y, x) at the size of a panel."""
    from PIL import Image

    top, left, height, width = box
    size = max(1, round(PANEL * width * spacing[1] / (height * spacing[0]))), PANEL
    method = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    part = (left, top, min(left + width, plane.shape[1]), min(top + height, plane.shape[0]))
    return np.asarray(Image.fromarray(plane.astype(np.float32)).resize(size, method, box=part))


def _paint(grey: np.ndarray, numbers: np.ndarray, heat: np.ndarray | None, own: int) -> Image:
    """A panel: grey (y, x) in 0..1, the heat above it, and outline and number of each candidate, the row's own bold."""
    from PIL import Image, ImageDraw

    colours = np.repeat(np.clip(grey, 0, 1)[..., None] * 255, 3, axis=2)
    if heat is not None:
        strength = np.clip(heat, 0, 1)[..., None] * 0.7
        colours = colours * (1 - strength) + np.array(HEAT) * strength
    seen = [int(number) for number in np.unique(numbers) if number]
    for number in seen:
        colours[_outline(numbers == number, WIDTH if number == own else 1)] = colour(number)
    picture = Image.fromarray(colours.astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    for number in seen:
        rows, columns = np.nonzero(numbers == number)
        place = min(int(columns.max()) + 4, grey.shape[1] - 14), max(int(rows.min()) - 10, 2)
        pen.text(place, str(number), fill="white", stroke_width=1, stroke_fill="black")
    return picture


def _outline(mask: np.ndarray, width: int) -> np.ndarray:
    """The rim of a mask (y, x), from within."""
    from scipy import ndimage

    return mask & ~ndimage.binary_erosion(mask, iterations=width)
