"""Where the gland is, as far as that is known, and which candidates lie outside of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

MARGIN_MM = 3.0
"""A candidate that comes this near to the gland is not outside: masks of the gland are wrong by about that much, and a
label map in which lesions replace zones has none of the gland within a lesion."""
NAMES = frozenset(
    ("pz", "tz", "cz", "afms", "peripheral zone", "transition zone", "transitional zone", "central zone", "prostate",
     "anterior fibromuscular stroma", "gland", "whole gland", "prostate gland")
)  # fmt: skip
"""Labels that are the gland or a part of it."""


def gland_labels(labels: Mapping[str, Any], lesion: str) -> list[int]:
    """Values of a dataset.json's labels that are the gland but not the lesion."""
    known = [name for name in labels if name != lesion and name.casefold().replace("_", " ").strip() in NAMES]
    return sorted({value for name in known for value in _values(labels[name])} - set(_values(labels[lesion])))


def gland_of_labels(mask: Path, labels: Mapping[str, Any], lesion: str) -> np.ndarray | None:
    """(z, y, x) bool: the gland in a predicted mask; None where the model does not segment it."""
    values = gland_labels(labels, lesion)
    return np.isin(sitk.GetArrayFromImage(sitk.ReadImage(str(mask))), values) if values else None


def near_gland(gland: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """(z, y, x) bool: what lies at most MARGIN_MM from the gland.

    Args:
        gland: (z, y, x) bool; at least one voxel of it.
        spacing: voxel size (z, y, x) in mm.
    """
    from scipy import ndimage

    (box,) = ndimage.find_objects(gland.astype(np.uint8))
    margins = [int(np.ceil(MARGIN_MM / side)) + 1 for side in spacing]
    box = tuple(slice(max(0, s.start - m), s.stop + m) for s, m in zip(box, margins, strict=True))
    near = np.zeros_like(gland, dtype=bool)
    near[box] = ndimage.distance_transform_edt(~gland[box], sampling=spacing) <= MARGIN_MM
    return near


def _values(value: int | Sequence[int]) -> list[int]:
    return [value] if isinstance(value, int) else [int(one) for one in value]
