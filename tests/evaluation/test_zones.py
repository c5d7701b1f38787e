"""The zone of a case's lesions: most voxels, the nearest zone in holes, in millimetres."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.evaluation.zones import ZoneJob, lesion_zone, read_lesion_zones

ZONES = {"peripheral zone": 1, "transition zone": 2}
SPACING = (3.0, 1.0, 1.0)


def halves() -> np.ndarray:
    mask = np.ones((4, 6, 10), np.uint8)
    mask[:, :, 5:] = 2
    return mask


def test_the_zone_with_most_voxels() -> None:
    lesion = np.zeros((4, 6, 10), bool)
    assert lesion_zone(lesion, halves(), ZONES, SPACING) == ""
    lesion[1, 2, 3:7] = True
    assert lesion_zone(lesion, halves(), ZONES, SPACING) == "peripheral zone", "of equal ones the first"
    lesion[1, 2, 7] = True
    assert lesion_zone(lesion, halves(), ZONES, SPACING) == "transition zone"
    assert lesion_zone(lesion, np.zeros_like(halves()), ZONES, SPACING) == ""


def test_in_a_hole_the_nearest_zone_counts_and_other_structures_do_not() -> None:
    lesion = np.zeros((4, 6, 10), bool)
    lesion[1, 2, 3:8] = True
    mask = halves()
    mask[lesion] = 0
    assert lesion_zone(lesion, mask, ZONES, SPACING) == "transition zone"
    mask[lesion] = 7
    assert lesion_zone(lesion, mask, ZONES, SPACING) == "transition zone"


def test_near_is_in_millimetres() -> None:
    mask, lesion = np.zeros((5, 9, 1), np.uint8), np.zeros((5, 9, 1), bool)
    lesion[2, 4, 0] = True
    mask[1, 4, 0], mask[2, 2, 0] = 1, 2  # 3 mm up, 2 mm beside: fewer voxels, but further
    assert lesion_zone(lesion, mask, ZONES, SPACING) == "transition zone"
    assert lesion_zone(lesion, mask, ZONES, (1.0, 1.0, 1.0)) == "peripheral zone"


def test_a_mask_on_another_grid_is_an_error(tmp_path: Path) -> None:
    label, mask = tmp_path / "label.nii.gz", tmp_path / "mask.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(halves()), str(label))
    sitk.WriteImage(sitk.GetImageFromArray(halves()[1:]), str(mask))
    job = ZoneJob("a", label, mask, frozenset((1,)), ZONES)
    with pytest.raises(DataError, match="not on the grid of the label"):
        read_lesion_zones([job], 1)
    sitk.WriteImage(sitk.GetImageFromArray(halves()), str(mask))
    assert read_lesion_zones([job], 1) == {"a": "peripheral zone"}
