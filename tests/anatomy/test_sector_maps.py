"""Sectors on nnU-Net's preprocessed grid: the patient's left and head, however the image lies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nnunetv2_textguided.anatomy.sector_maps import (
    OTHER,
    anatomy_of_codes,
    encode_sectors,
    preprocessed_affine,
)
from nnunetv2_textguided.anatomy.sectors import SECTORS, affine_of, to_patient
from nnunetv2_textguided.errors import DataError

LABELS = {"peripheral zone": 2, "transition zone": 1, "seminal vesicles": 5}


def rotation(degrees: float) -> np.ndarray:
    """About the patient's left-right axis, as axial slices are tilted, then about the feet-head axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    tilt = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    return tilt @ turn


def properties(shape: tuple[int, ...], direction: np.ndarray, box: list[list[int]]) -> dict[str, Any]:
    stuff = {"spacing": (0.5, 0.5, 3.0), "origin": (10.0, -20.0, 30.0), "direction": tuple(direction.ravel())}
    return {"sitk_stuff": stuff, "bbox_used_for_cropping": box, "shape_before_cropping": shape}


@pytest.mark.parametrize("degrees", [0, 20, 170])
@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1]])
def test_a_preprocessed_voxel_is_where_its_raw_voxel_was(degrees: float, order: list[int]) -> None:
    direction = rotation(degrees)
    box = [[2, 8], [4, 24], [6, 36]]  # in the plans' order of axes
    given = properties((10, 30, 40), direction, box)
    new_shape = (12, 10, 15)
    affine = preprocessed_affine(given, order, new_shape, "case")
    raw = affine_of((0.5, 0.5, 3.0), (10.0, -20.0, 30.0), tuple(direction.ravel()))
    corners = np.array([[-0.5, -0.5, -0.5], [n - 0.5 for n in new_shape], [5.5, 4.5, 7.0]])
    cropped = np.array([[-0.5, -0.5, -0.5], [5.5, 19.5, 29.5], [2.5, 9.5, 14.5]])
    transposed = cropped + [low for low, _ in box]
    raw_index = np.empty_like(transposed)
    raw_index[:, order] = transposed
    np.testing.assert_allclose(to_patient(corners, affine), to_patient(raw_index, raw), atol=1e-9)


def test_nibabels_orientation_is_the_same_place() -> None:
    direction = rotation(20)
    box = [[0, 4], [0, 5], [0, 6]]
    given = properties((4, 5, 6), direction, box)
    expected = preprocessed_affine(given, [0, 1, 2], (4, 5, 6), "case")
    matrix = np.eye(4)
    matrix[:3, :3] = np.diag([-1, -1, 1]) @ (direction * [0.5, 0.5, 3.0])
    matrix[:3, 3] = [-10.0, 20.0, 30.0]
    nibabel = {"nibabel_stuff": {"original_affine": matrix}, "bbox_used_for_cropping": box}
    np.testing.assert_allclose(preprocessed_affine(nibabel, [0, 1, 2], (4, 5, 6), "case"), expected, atol=1e-9)
    with pytest.raises(DataError, match="do not say where the patient's left"):
        preprocessed_affine({"bbox_used_for_cropping": box}, [0, 1, 2], (4, 5, 6), "case")


@pytest.mark.parametrize("flipped", [False, True])
def test_left_is_the_patients_left(flipped: bool) -> None:
    anatomy = np.zeros((6, 8, 8), dtype=np.uint8)
    anatomy[:, 2:6, 1:7] = LABELS["peripheral zone"]
    anatomy[0, 0, 0] = LABELS["seminal vesicles"]
    # LPS: x grows to the left; a flipped image has its first column at the left.
    direction = np.diag([-1.0 if flipped else 1.0, 1.0, 1.0])
    codes = encode_sectors(anatomy, LABELS, affine_of((1, 1, 3), (0, 0, 0), tuple(direction.ravel())))
    at_high_x = SECTORS[codes[5, 5, 6] - 1]
    assert at_high_x == ("peripheral zone", "right" if flipped else "left", "base", "posterior")
    assert SECTORS[codes[0, 2, 1] - 1] == ("peripheral zone", "left" if flipped else "right", "apex", "anterior")
    assert codes[0, 0, 0] == OTHER + 5


def test_a_sector_map_holds_the_anatomy_too() -> None:
    rng = np.random.default_rng(0)
    anatomy = rng.choice(np.array([0, 1, 2, 5], dtype=np.uint8), (6, 8, 8))
    codes = encode_sectors(anatomy, LABELS, affine_of((1, 1, 3), (0, 0, 0), tuple(np.eye(3).ravel())))
    np.testing.assert_array_equal(anatomy_of_codes(LABELS)[codes], anatomy)


def test_a_data_set_without_zones_or_with_too_large_values_is_refused() -> None:
    with pytest.raises(DataError, match="lacks the transition zone"):
        anatomy_of_codes({"peripheral zone": 1})
    with pytest.raises(DataError, match="end at 231"):
        anatomy_of_codes({"peripheral zone": 1, "transition zone": 2, "x": 240})
