"""Overlays: a row for each candidate, its key slice on every channel side by side, its outline where it lies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from nnunetv2_textguided.inference.lesions import Candidate, detection_map, measure_candidates
from nnunetv2_textguided.inference.overlays import PANEL, Scene, colour, draw
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


def outlined(panel: np.ndarray, number: int = 1) -> np.ndarray:
    """Where a panel has the colour of a candidate, as (y, x) in voxels."""
    return np.argwhere(np.abs(panel - np.array(colour(number))).max(axis=-1) < 40) * SHAPE[1] / PANEL


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
            found = outlined(picture[top : top + PANEL, left : left + PANEL], row + 1)
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


def real_field(gland: bool) -> tuple[Scene, list[Candidate]]:
    """Two lesions in a gland of 40 mm in a field of 200 mm, in which fat is far brighter."""
    shape, spacing = (6, 200, 200), (3.0, 1.0, 1.0)
    rows, columns = np.mgrid[:200, :200]
    inside = np.hypot(rows - 110, columns - 90) < 20
    image = np.where(inside, 100.0 + 0.5 * (columns - 90), 900.0) * np.ones((6, 1, 1))
    probability = np.zeros(shape, np.float32)
    probability[2:4, 105:110, 78:84] = 0.9
    probability[2:4, 112:118, 96:101] = 0.7
    like = sitk.Image(shape[::-1], sitk.sitkFloat32)
    like.SetSpacing(spacing[::-1])
    detection = detection_map(probability, probability > 0.5, "mask")
    candidates, numbers = measure_candidates(detection, probability, None, None, like, NAMES)
    where = np.broadcast_to(inside, shape) if gland else None
    return Scene([("T2W", image)], numbers, probability, None, spacing, where), candidates


@pytest.mark.parametrize("gland", [True, False])
def test_two_candidates_of_one_slice_have_pictures_colours_and_numbers_of_their_own(
    tmp_path: Path, gland: bool
) -> None:
    scene, candidates = real_field(gland)
    draw(scene, candidates, "case", tmp_path / "a.png")
    picture = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).astype(int)
    rows = [picture[r * (PANEL + TITLE) + TITLE :][:PANEL] for r in (0, 1)]
    titles = [picture[r * (PANEL + TITLE) :][:TITLE] for r in (0, 1)]
    for number in (1, 2):
        assert len(outlined(titles[number - 1], number)), "the line above is in the candidate's colour"
        assert not len(outlined(titles[2 - number], number))
        own, other = (len(outlined(rows[row], number)) for row in (number - 1, 2 - number))
        assert own > 2 * other > 80, "both are outlined in both rows, each in its colour, the row's own bold"
    # A lesion of 5 mm in a panel of 90 mm is more than twice as large as in one of the whole 200 mm.
    height = np.ptp(np.argwhere(np.abs(rows[0] - np.array(colour(1))).max(axis=-1) < 40)[:, 0]) + 1
    assert height == pytest.approx(5 * PANEL / 90, abs=3)


def test_the_gland_sets_the_window(tmp_path: Path) -> None:
    scene, candidates = real_field(gland=True)
    draw(scene, candidates, "case", tmp_path / "a.png")
    panel = np.asarray(Image.open(tmp_path / "a.png").convert("L")).astype(int)[TITLE : TITLE + PANEL]
    centre = panel[PANEL // 2 - 8 : PANEL // 2 + 8]
    edge = int(20 * PANEL / 90)
    profile = centre[:, PANEL // 2 - edge + 8 : PANEL // 2 + edge - 8].mean(axis=0)
    assert profile[0] < 60
    assert profile[-1] > 190, "the gland's own contrast fills the range; the fat around it is white"
