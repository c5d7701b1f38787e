"""A reported lesion that is no candidate is outlined at its most probable place."""

from __future__ import annotations

import numpy as np
import pytest

from nnunetv2_textguided.reports.placing import most_probable
from nnunetv2_textguided.text.report_target import FILLED

SPACING = (3.0, 1.0, 1.0)
DIAMETER = 12.0


def ball(centre: tuple[int, int, int], diameter: float, shape: tuple[int, int, int] = (12, 48, 48)) -> np.ndarray:
    grid = [(np.arange(n) - c) * mm for n, c, mm in zip(shape, centre, SPACING, strict=True)]
    return grid[0][:, None, None] ** 2 + grid[1][:, None] ** 2 + grid[2] ** 2 <= (diameter / 2) ** 2


def test_the_lesion_in_the_place_is_outlined_and_the_more_probable_one_elsewhere_is_not() -> None:
    lesion, other = ball((5, 12, 12), 7.5), ball((5, 36, 36), 7.5)
    probability = 0.01 + 0.2 * lesion + 0.9 * other
    place = np.zeros(lesion.shape, dtype=bool)
    place[:, :24, :24] = True
    outline = most_probable(probability, place, DIAMETER, SPACING)
    assert not (outline & other).any()
    assert 2 * (outline & lesion).sum() / (outline.sum() + lesion.sum()) > 0.8


def test_the_volume_follows_the_reported_diameter_and_not_the_height_of_the_map() -> None:
    place = np.ones((12, 48, 48), dtype=bool)
    faint = np.exp(-0.02 * sum((np.indices(place.shape)[i] - c) ** 2 for i, c in enumerate((6, 24, 24))))
    volumes = []
    for diameter in (8.0, 16.0):
        outline = most_probable(1e-3 * faint, place, diameter, SPACING)
        assert np.array_equal(outline, most_probable(faint, place, diameter, SPACING))
        assert outline.sum() * np.prod(SPACING) == pytest.approx(FILLED * np.pi / 6 * diameter**3, rel=0.02)
        volumes.append(outline.sum())
    assert volumes[1] / volumes[0] == pytest.approx(8, rel=0.05)


def test_without_a_place_there_is_none_and_a_flat_map_gives_a_ball_in_the_place() -> None:
    flat = np.full((12, 48, 48), 0.01)
    assert not most_probable(flat, np.zeros(flat.shape, dtype=bool), DIAMETER, SPACING).any()
    place = ball((6, 20, 30), 4)
    outline = most_probable(flat, place, None, SPACING)
    assert np.abs(np.argwhere(outline).mean(axis=0) - (6, 20, 30)).max() < 2


def test_more_voxels_than_the_image_has_are_not_asked_for() -> None:
    flat = np.zeros((2, 4, 4))
    assert most_probable(flat, np.ones(flat.shape, dtype=bool), 100.0, SPACING).all()
