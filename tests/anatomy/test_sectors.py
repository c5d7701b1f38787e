"""Sectors: the patient's right and left, feet and head, front and back, whatever the image's axes."""

from __future__ import annotations

import numpy as np
import pytest

from nnunetv2_textguided.anatomy.sectors import (
    SECTORS,
    GlandFrame,
    Sector,
    affine_of,
    sector_map,
    to_patient,
    values_within,
)

SPACING, ORIGIN, UPRIGHT = (0.5, 0.5, 3.0), (-10.0, -10.0, -12.0), (1.0, 0, 0, 0, 1, 0, 0, 0, 1)


def zones() -> np.ndarray:
    """A gland of 6 slices: transition zone in front, peripheral zone behind."""
    made = np.zeros((8, 40, 40), dtype=np.uint8)
    made[1:7, 8:20, 8:32], made[1:7, 20:32, 8:32] = 2, 1
    return made


def test_all_sectors_have_a_name_and_a_value_of_their_own() -> None:
    assert len(SECTORS) == 24
    assert len({str(sector) for sector in SECTORS}) == 24
    assert str(Sector("peripheral zone", "left", "mid-gland", "posterior")) == (
        "left posterior peripheral zone at mid-gland"
    )
    assert str(Sector(level="base")) == "prostate at the base"


def test_upright_image() -> None:
    found = sector_map(zones(), affine_of(SPACING, ORIGIN, UPRIGHT))
    # LPS: x grows to the patient's left, y to the back, z to the head.
    assert SECTORS[found[1, 30, 30] - 1] == Sector("peripheral zone", "left", "apex", "posterior")
    assert SECTORS[found[6, 10, 10] - 1] == Sector("transition zone", "right", "base", "anterior")
    assert (found > 0).sum() == (zones() > 0).sum()
    assert found[0].max() == 0


def test_the_same_tissue_has_the_same_sector_in_flipped_and_oblique_images() -> None:
    """A voxel's sector follows its place in the patient, not its index."""
    reference = sector_map(zones(), affine_of(SPACING, ORIGIN, UPRIGHT))
    flipped = sector_map(zones()[:, :, ::-1], affine_of(SPACING, (9.5, -10, -12), (-1.0, 0, 0, 0, 1, 0, 0, 0, 1)))
    np.testing.assert_array_equal(flipped[:, :, ::-1], reference)
    upside_down = sector_map(zones()[::-1], affine_of(SPACING, (-10, -10, 9), (1.0, 0, 0, 0, 1, 0, 0, 0, -1)))
    np.testing.assert_array_equal(upside_down[::-1], reference)
    c, s = np.cos(0.2), np.sin(0.2)
    tilted = sector_map(zones(), affine_of(SPACING, ORIGIN, (1.0, 0, 0, 0, c, -s, 0, s, c)))
    agreement = (tilted == reference)[zones() > 0].mean()
    assert 0.75 < agreement < 1
    # Tilting about the left-right axis never exchanges the sides.
    side = np.array([0, *(1 + (sector.side == "left") for sector in SECTORS)])
    np.testing.assert_array_equal(side[tilted], side[reference])


def test_affine_is_simpleitks() -> None:
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.Image((4, 5, 6), sitk.sitkUInt8)
    image.SetSpacing((0.5, 0.7, 3.0))
    image.SetOrigin((1.0, -2.0, 3.0))
    c, s = np.cos(0.4), np.sin(0.4)
    image.SetDirection((1.0, 0, 0, 0, c, -s, 0, s, c))
    affine = affine_of(image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    found = to_patient(np.array([[5, 4, 3]]), affine)[0]
    np.testing.assert_allclose(found, image.TransformIndexToPhysicalPoint((3, 4, 5)))


def test_partial_names_hold_their_sectors() -> None:
    assert len(values_within(Sector())) == 24
    assert len(values_within(Sector(side="left"))) == 12
    assert len(values_within(Sector(zone="peripheral zone", side="left"))) == 6
    assert values_within(SECTORS[5]) == [6]


def test_no_gland_no_sectors() -> None:
    affine = affine_of(SPACING, ORIGIN, UPRIGHT)
    assert sector_map(np.zeros((4, 4, 4), dtype=np.uint8), affine).max() == 0
    assert GlandFrame.of(np.zeros((4, 4, 4), dtype=bool), affine) is None
    one = np.zeros((4, 4, 4), dtype=np.uint8)
    one[2, 2, 2] = 1
    assert sector_map(one, affine)[2, 2, 2] > 0
