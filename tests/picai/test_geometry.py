"""Grids are compared by how far voxels lie apart; headers of other series are caught."""

from __future__ import annotations

import math

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.evaluation.lesions import count_components, measure
from nnunetv2_textguided.imaging.geometry import (
    centred_on,
    check_axial,
    check_same_anatomy,
    compare_grids,
    coverage,
    mask_onto,
)


def volume(size=(64, 64, 12), spacing=(0.5, 0.5, 3.0), origin=(0.0, 0.0, 0.0), direction=None) -> sitk.Image:
    made = sitk.Image(size, sitk.sitkUInt8)
    made.SetSpacing(spacing)
    made.SetOrigin(origin)
    if direction is not None:
        made.SetDirection(direction)
    return made


def rotated(degrees: float, axis: int = 2) -> tuple[float, ...]:
    """Direction cosines turned about an axis (0 x, 1 y, 2 z)."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    matrix = np.eye(3)
    i, j = [a for a in range(3) if a != axis]
    matrix[i, i], matrix[i, j], matrix[j, i], matrix[j, j] = c, -s, s, c
    return tuple(matrix.ravel())


def with_lesion(image: sitk.Image) -> sitk.Image:
    values = sitk.GetArrayFromImage(image)
    values[5:8, 30:36, 20:28] = 1
    made = sitk.GetImageFromArray(values)
    made.CopyInformation(image)
    return made


@pytest.mark.parametrize("cosine", [1e-7, 2e-4])
def test_headers_that_differ_as_real_ones_do_are_one_grid_and_leave_every_voxel(cosine: float) -> None:
    reference = volume((384, 384, 19))
    mask = with_lesion(volume((384, 384, 19), direction=rotated(math.degrees(cosine))))
    assert compare_grids(mask, reference).same_grid
    moved, how = mask_onto(mask, reference)
    assert how is None
    assert moved.GetDirection() == reference.GetDirection()
    assert np.array_equal(sitk.GetArrayFromImage(moved), sitk.GetArrayFromImage(mask))


def test_the_distance_is_that_of_the_corner_voxels() -> None:
    difference = compare_grids(volume(origin=(1.0, 0.0, 0.0)), volume())
    assert difference.voxels == pytest.approx(2.0)
    assert difference.millimetres == pytest.approx(1.0)
    assert not difference.same_grid


def test_a_mask_on_another_grid_is_resampled_and_its_lesion_survives() -> None:
    fine = with_lesion(volume())
    coarse, how = mask_onto(fine, volume((32, 32, 12), (1.0, 1.0, 3.0), (0.25, 0.25, 0.0)))
    assert how is not None
    assert "64x64x12 instead of 32x32x12" in how
    assert measure(coarse).count == measure(fine).count == 1
    assert measure(coarse).millilitres == pytest.approx(measure(fine).millilitres, rel=0.05)


def test_a_mask_moved_by_a_rotation_is_resampled() -> None:
    moved, how = mask_onto(with_lesion(volume(direction=rotated(5))), volume())
    assert how is not None
    assert "voxels" in how
    assert measure(moved).count == 1


def test_diffusion_series_of_the_same_examination_pass() -> None:
    t2w = volume((384, 384, 19), direction=rotated(17, axis=0))
    adc = volume((84, 128, 19), (2.0, 2.0, 3.0), (12.0, -32.0, 8.0), rotated(15, axis=0))
    check_same_anatomy(adc, t2w, "adc.mha")


def test_a_diffusion_series_with_the_spacing_of_t2w_is_refused() -> None:
    t2w, adc = volume((384, 384, 19)), volume((84, 128, 19))
    assert coverage(adc, t2w) < 0.25
    with pytest.raises(DataError, match="does not fit the T2W series") as caught:
        check_same_anatomy(adc, t2w, "x_adc.mha")
    assert caught.value.where == "x_adc.mha"
    assert caught.value.remedy


def test_sagittal_slices_are_refused() -> None:
    with pytest.raises(DataError, match="not axial"):
        check_axial(volume(direction=rotated(80, axis=1)), "t2w.mha")
    with pytest.raises(DataError, match="tilted by 80 degrees"):
        check_same_anatomy(volume(direction=rotated(80, axis=1)), volume(), "adc.mha")


@pytest.mark.parametrize("point", [(10.0, 20.0, 6.0), (16.0, 16.0, 15.0), (30.0, 3.0, 30.0)])
def test_padding_puts_the_point_into_the_centre_and_keeps_every_voxel(point: tuple[float, float, float]) -> None:
    image = with_lesion(volume())
    centred = centred_on(image, point)
    middle = (np.array(centred.GetSize()) - 1) / 2
    index = np.array(centred.TransformPhysicalPointToContinuousIndex(point))
    assert np.abs(index - middle).max() <= 0.5
    back = sitk.Resample(centred, image, sitk.Transform(), sitk.sitkNearestNeighbor)
    assert np.array_equal(sitk.GetArrayFromImage(back), sitk.GetArrayFromImage(image))


def test_components_touching_at_a_corner_are_one_lesion() -> None:
    mask = np.zeros((4, 4, 4), dtype=bool)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[3, 3, 3] = True
    assert count_components(mask) == 2
    assert count_components(np.zeros((4, 4, 4), dtype=bool)) == 0
