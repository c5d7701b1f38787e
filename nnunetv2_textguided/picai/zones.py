"""Zone masks: choosing one of the two AI sources, and writing zones and lesion as one label map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

# In both zone sources of picai_labels (their READMEs).
PERIPHERAL, TRANSITION = 1, 2
ZONE_VALUES = frozenset((0, PERIPHERAL, TRANSITION))
LESION = 3
ZONE_SOURCES = ("HeviAI23", "Yuan23")
# `auto` prefers HeviAI23 unless Yuan23 agrees with the whole-gland mask by more than this Dice.
AUTO_MARGIN = 0.03


@dataclass(frozen=True)
class ZoneChoice:
    """A zone mask on the T2W grid, its source, its Dice with the gland mask (None without one) and remarks."""

    mask: sitk.Image
    source: str
    gland_dice: float | None
    remarks: tuple[str, ...] = ()


def choose_zones(candidates: list[ZoneChoice]) -> ZoneChoice:
    """The candidate with the better gland agreement; the first one unless another is better by AUTO_MARGIN."""
    best = candidates[0]
    for other in candidates[1:]:
        if (other.gland_dice or 0.0) > (best.gland_dice or 0.0) + AUTO_MARGIN:
            best = other
    return best


def dice(a: sitk.Image, b: sitk.Image) -> float:
    """Dice of what is not 0 in two masks on one grid; 1 where both are empty."""
    first, second = (sitk.GetArrayViewFromImage(m) != 0 for m in (a, b))
    total = int(first.sum() + second.sum())
    return 2 * int((first & second).sum()) / total if total else 1.0


def compose(zones: sitk.Image, lesion: sitk.Image) -> sitk.Image:
    """One label map: peripheral zone 1, transition zone 2, and the lesion, 3, on top of both."""
    values = sitk.GetArrayFromImage(zones).astype(np.uint8)
    values[sitk.GetArrayViewFromImage(lesion) != 0] = LESION
    composed = sitk.GetImageFromArray(values)
    composed.CopyInformation(lesion)
    return composed
