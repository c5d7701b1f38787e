"""Overlays: a row for each candidate, its key slice on every channel side by side, its outline where it lies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from nnunetv2_textguided.inference.lesions import detection_map, measure_candidates
from nnunetv2_textguided.inference.overlays import OUTLINE, PANEL, Scene, draw
from nnunetv2_textguided.inference.zones import NAMES

SHAPE, SPACING = (10, 40, 40), (3.0, 1.0, 1.0)
TITLE = 18
"""Height of the line of text above a row."""


def sheet(path: Path, lesions: list[tuple[slice, ...]], heatmap: np.ndarray | None = None) -> np.ndarray:
    """The drawn picture (y, x, 3); each channel is of one grey per slice, brighter from slice to slice."""
    probability = np.zeros(SHAPE, np.float32)
    for number, where in enumerate(lesions):
        probability[where] = 0.9 - 0.2 * number
    like = sitk.Image(SHAPE[::-1], sitk.sitkFloat32)
    like.SetSpacing(SPACING[::-1])
    detection = detection_map(probability, probability > 0.5, "mask")
    candidates, numbers = measure_candidates(detection, probability, heatmap, None, like, NAMES)
    assert len(candidates) == len(lesions)
    grey = np.broadcast_to(np.arange(SHAPE[0], dtype=np.float32)[:, None, None], SHAPE)
    channels = [("T2W", grey), ("ADC", -grey), ("HBV", grey)]
    draw(Scene(channels, numbers, probability, heatmap, SPACING), candidates, "case", path)
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def outlined(panel: np.ndarray) -> np.ndarray:
    """Where a panel has the outline's colour, as (y, x) in voxels. Its name is written at the top in that colour."""
    return np.argwhere(np.abs(panel[20:] - np.array(OUTLINE)).max(axis=-1) < 40) * SHAPE[1] / PANEL + [2.5, 0]


FIRST = (slice(2, 5), slice(10, 16), slice(24, 32))
SECOND = (slice(6, 9), slice(28, 34), slice(6, 12))


def test_every_candidate_has_a_row_with_all_channels_side_by_side(tmp_path: Path) -> None:
    picture = sheet(tmp_path / "a.png", [FIRST, SECOND])
    height = PANEL + TITLE
    assert picture.shape == (2 * height, 3 * PANEL, 3)
    for row, where in enumerate((FIRST, SECOND)):
        middle = np.array([(s.start + s.stop) / 2 for s in where[1:]])
        for column in range(3):
            top, left = row * height + TITLE, column * PANEL
            found = outlined(picture[top : top + PANEL, left : left + PANEL])
            assert np.abs(found.mean(axis=0) - middle).max() < 1, "the outline is around the lesion, in every channel"
    # The second candidate's slice is a later one: brighter on T2W, darker on the inverted channel.
    t2w, adc = ([picture[r * height + TITLE + 280, c * PANEL + 280, 0] for r in (0, 1)] for c in (0, 1))
    assert t2w[0] < t2w[1]
    assert adc[0] > adc[1]


def test_the_heatmap_has_a_panel_of_its_own(tmp_path: Path) -> None:
    heatmap = np.zeros(SHAPE, np.float32)
    heatmap[FIRST] = 1.0
    picture = sheet(tmp_path / "a.png", [FIRST], heatmap)
    assert picture.shape == (PANEL + TITLE, 4 * PANEL, 3)
    inside = int(TITLE + 13 * PANEL / 40), int(28 * PANEL / 40)
    red = [picture[inside[0], panel * PANEL + inside[1]] for panel in (0, 3)]
    assert red[1][0] - red[1][2] > 80 > red[0][0] - red[0][2]


def test_without_a_candidate_the_most_probable_slice_is_shown(tmp_path: Path) -> None:
    picture = sheet(tmp_path / "a.png", [])
    assert picture.shape == (PANEL + TITLE, 3 * PANEL, 3)
    assert len(outlined(picture[TITLE:, :PANEL])) == 0


@pytest.mark.parametrize("number", [8, 12])
def test_a_torn_mask_does_not_make_an_endless_picture(tmp_path: Path, number: int) -> None:
    spots = [(slice(5, 6), slice(3 * i, 3 * i + 2), slice(3 * i, 3 * i + 2)) for i in range(number)]
    probability = np.zeros(SHAPE, np.float32)
    for where in spots:
        probability[where] = 0.9
    like = sitk.Image(SHAPE[::-1], sitk.sitkFloat32)
    candidates, numbers = measure_candidates(
        detection_map(probability, probability > 0.5, "mask"), probability, None, None, like, NAMES
    )
    assert len(candidates) == number
    draw(Scene([("T2W", probability)], numbers, probability, None, SPACING), candidates, "case", tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").height == 8 * (PANEL + TITLE)
