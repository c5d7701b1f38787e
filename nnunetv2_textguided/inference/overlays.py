"""Key slices as PNG: all channels side by side, with the candidate's outline, and the heatmap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunetv2_textguided.inference.lesions import Candidate, slice_axis

if TYPE_CHECKING:
    from PIL.Image import Image

PANEL = 320
"""Height of a panel in pixels."""
MAX_ROWS = 8
"""PI-CAI's extraction finds five candidates at most; the components of a mask can be hundreds."""
OUTLINE, HEAT = (255, 196, 0), (255, 64, 32)


@dataclass(frozen=True)
class Scene:
    """What is drawn. All arrays (z, y, x) on one grid.

    Attributes:
        channels: name and values of each image channel.
        numbers: number of the candidate at each voxel, 0 elsewhere.
        probability: probability of the lesion.
        heatmap: text-image similarity, if there is one.
        spacing: voxel size (z, y, x) in mm.
    """

    channels: Sequence[tuple[str, np.ndarray]]
    numbers: np.ndarray
    probability: np.ndarray
    heatmap: np.ndarray | None
    spacing: tuple[float, ...]


def draw(scene: Scene, candidates: Sequence[Candidate], title: str, path: Path) -> None:
    """Write one PNG with a row for each of the first candidates (MAX_ROWS of them).

    Without any, one row shows the slice of the largest probability.
    """
    from PIL import Image

    axis = slice_axis(scene.spacing)
    if candidates:
        rows = [(c.key_slice, f"{title}, {describe(c)}") for c in candidates[:MAX_ROWS]]
    else:
        peak = np.unravel_index(int(scene.probability.argmax()), scene.probability.shape)[axis]
        rows = [(int(peak), f"{title}: no candidate; slice {int(peak)} has the largest probability")]
    strips = [_row(scene, axis, index, text) for index, text in rows]
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


def _row(scene: Scene, axis: int, index: int, text: str) -> Image:
    from PIL import Image, ImageDraw

    spacing = [s for i, s in enumerate(scene.spacing) if i != axis]
    outline = _outline(np.take(scene.numbers, index, axis))
    panels = []
    for name, values in scene.channels:
        grey = _grey(values, np.take(values, index, axis))
        panels.append((name, _paint(grey, outline, None, spacing)))
    if scene.heatmap is not None:
        name, values = scene.channels[0]
        grey = _grey(values, np.take(values, index, axis))
        heat = np.take(scene.heatmap, index, axis)
        panels.append((f"{name} and heatmap", _paint(grey, outline, heat, spacing)))
    strip = Image.new("RGB", (sum(p.width for _, p in panels), PANEL + 18), "black")
    pen, left = ImageDraw.Draw(strip), 0
    for name, panel in panels:
        strip.paste(panel, (left, 18))
        pen.text((left + 4, 22), name, fill=OUTLINE)
        left += panel.width
    pen.text((4, 3), text, fill="white")
    return strip


def _grey(volume: np.ndarray, plane: np.ndarray) -> np.ndarray:
    """A slice (y, x) as 0..1, windowed by its volume, so that slices can be compared."""
    low, high = np.percentile(volume[:: max(1, len(volume) // 16)], (1, 99.5))
    return np.clip((plane - low) / max(float(high - low), 1e-6), 0, 1)


def _outline(numbers: np.ndarray) -> np.ndarray:
    """Voxels of a slice (y, x) that border on another number, from within."""
    inner = np.zeros(numbers.shape, dtype=bool)
    for axis in (0, 1):
        for step in (-1, 1):
            inner |= numbers != np.roll(numbers, step, axis)
    return inner & (numbers > 0)


def _paint(grey: np.ndarray, outline: np.ndarray, heat: np.ndarray | None, spacing: Sequence[float]) -> Image:
    from PIL import Image

    colours = np.repeat(grey[..., None] * 255, 3, axis=2)
    if heat is not None:
        strength = np.clip(heat, 0, 1)[..., None] * 0.7
        colours = colours * (1 - strength) + np.array(HEAT) * strength
    colours[outline] = OUTLINE
    width = max(1, round(PANEL * (grey.shape[1] * spacing[1]) / (grey.shape[0] * spacing[0])))
    picture: Any = Image.fromarray(colours.astype(np.uint8))
    return picture.resize((width, PANEL), Image.Resampling.BICUBIC)
