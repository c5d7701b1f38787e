"""One case for the viewer: a script that holds its images, because a page opened from disk cannot load data files."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from nnunetv2_textguided.inference.lesions import Candidate

PROBABILITY_LEVELS = 200
"""Steps of the stored probability: a threshold that is a multiple of 1/200 marks the same voxels as on the map."""


@dataclass(frozen=True)
class Layer:
    """A volume of the viewer.

    Attributes:
        name: what it is called there.
        kind: "channel", "heatmap", "sentence" (a heatmap, too), "probability", "mask" or "without" (a mask, too).
        values: (z, y, x).
    """

    name: str
    kind: str
    values: np.ndarray


def write_case(
    path: Path,
    name: str,
    layers: Iterable[Layer],
    candidates: Sequence[Candidate],
    like: sitk.Image,
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Write a case's script.

    Args:
        path: the script.
        name: the case.
        layers: channels first; all on the grid of `like`.
        candidates: what was found.
        like: an image with the geometry.
        notes: further values of the case: "remarks", "unlike_training", "threshold" (of the mask), "fitted_threshold"
            (of the model), "refiner_edits" (voxels "added" and "removed") and "text" (what it did).
    """
    content = {
        "name": name,
        "layers": [{"name": one.name, "kind": one.kind, "data": _encode(one, like)} for one in layers],
        "probability_levels": PROBABILITY_LEVELS,
        "candidates": [candidate.as_json() for candidate in candidates],
        **(notes or {}),
    }
    path.write_text(f"showPredictedCase({json.dumps(content)});\n", encoding="utf-8")


def _encode(layer: Layer, like: sitk.Image) -> str:
    """A NIfTI file of bytes, compressed, in base64: what a screen can show, at a quarter of the size."""
    image = sitk.GetImageFromArray(_as_bytes(layer))
    image.CopyInformation(like)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "layer.nii.gz"
        sitk.WriteImage(image, str(path), True, 6)
        return base64.b64encode(path.read_bytes()).decode("ascii")


def _as_bytes(layer: Layer) -> np.ndarray:
    """Channels from their 0.5th to their 99.5th percentile, heatmaps from 0 to 1, masks as they are.

    A probability is rounded down to its level, so that comparing levels is comparing probabilities.
    """
    if layer.kind == "probability":
        levels = np.arange(1, PROBABILITY_LEVELS + 1) / PROBABILITY_LEVELS
        return np.digitize(layer.values, levels.astype(layer.values.dtype)).astype(np.uint8)
    if layer.kind in ("mask", "without"):
        return layer.values.astype(np.uint8)
    low, high = (0.0, 1.0) if layer.kind in ("heatmap", "sentence") else np.percentile(layer.values, (0.5, 99.5))
    scaled = (layer.values - low) / max(float(high - low), 1e-6)
    return np.round(np.clip(scaled, 0, 1) * 255).astype(np.uint8)
