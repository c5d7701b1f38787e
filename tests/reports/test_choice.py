"""Which candidates a report confirms."""

from __future__ import annotations

import numpy as np
import pytest

from nnunetv2_textguided.anatomy.sectors import Sector, sector_map
from nnunetv2_textguided.reports.choice import Found, choose, misfit
from nnunetv2_textguided.reports.words import WORDS
from nnunetv2_textguided.text.report_target import ReportedLesion, ReportTarget

SPACING = (3.0, 1.0, 1.0)
AFFINE = np.array([[0, 0, 1.0, 0], [0, 1.0, 0, 0], [3.0, 0, 0, 0]])
FOUND = [Found(1, 0.9, 14.0), Found(2, 0.6, 6.0), Found(3, 0.3, 10.0)]


@pytest.fixture
def numbers() -> np.ndarray:
    """Candidates 1 in the patient's right half, 2 and 3 in the left one."""
    made = np.zeros((9, 60, 60), dtype=np.uint8)
    made[4, 40:44, 8:12], made[4, 40:44, 46:50], made[1, 10:14, 46:50] = 1, 2, 3
    return made


@pytest.fixture
def sectors() -> np.ndarray:
    zones = np.full((9, 60, 60), 2, dtype=np.uint8)
    zones[:, 30:] = 1  # the back half is the peripheral zone
    return sector_map(zones, AFFINE)


def _chosen(numbers: np.ndarray, sectors: np.ndarray | None, target: ReportTarget, words=WORDS) -> object:
    return choose(FOUND, target, words, numbers, sectors, SPACING).numbers


def test_as_many_as_the_report_counts_the_most_confident_first(numbers: np.ndarray) -> None:
    assert [_chosen(numbers, None, ReportTarget(count)) for count in range(5)] == [(), (1,), (1, 2), (1, 2, 3), None]
    assert choose([], ReportTarget(0), WORDS, numbers, None, SPACING).numbers == ()


def test_the_order_of_the_list_says_nothing(numbers: np.ndarray) -> None:
    assert choose(FOUND[::-1], ReportTarget(2), WORDS, numbers, None, SPACING).numbers == (1, 2)


def test_a_place_chooses_among_candidates(numbers: np.ndarray, sectors: np.ndarray) -> None:
    left = ReportTarget(1, (ReportedLesion(Sector(side="left")),))
    assert _chosen(numbers, sectors, left) == (2,)
    assert _chosen(numbers, sectors, left, ("count",)) == (1,)
    left_front = ReportTarget(1, (ReportedLesion(Sector("transition zone", "left")),))
    assert _chosen(numbers, sectors, left_front) == (3,)
    both = ReportTarget(2, (ReportedLesion(Sector(side="left")), ReportedLesion(Sector("transition zone", "left"))))
    assert _chosen(numbers, sectors, both) == (2, 3)


def test_what_is_not_located_takes_what_is_left(numbers: np.ndarray, sectors: np.ndarray) -> None:
    target = ReportTarget(2, (ReportedLesion(Sector(side="left")),))
    assert _chosen(numbers, sectors, target) == (1, 2)


def test_a_lesion_without_a_candidate_leaves_the_case_out(numbers: np.ndarray, sectors: np.ndarray) -> None:
    found = choose(
        FOUND, ReportTarget(1, (ReportedLesion(Sector("transition zone", "right")),)), WORDS, numbers, sectors, SPACING
    )
    assert found.numbers is None
    assert "transition zone" in found.reason


def test_a_diameter_rules_candidates_out(numbers: np.ndarray) -> None:
    small = ReportTarget(1, (ReportedLesion(diameter_mm=5.0),))
    assert _chosen(numbers, None, small) == (2,)
    assert _chosen(numbers, None, small, ("count", "sector")) == (1,)
    assert _chosen(numbers, None, ReportTarget(1, (ReportedLesion(diameter_mm=60.0),))) is None


def test_a_place_near_its_border_counts_and_without_zones_it_is_said(numbers: np.ndarray) -> None:
    zones = np.zeros((9, 60, 60), dtype=np.uint8)
    zones[:, 30:38] = 1  # candidate 2 begins two millimetres behind the gland
    near = choose(
        FOUND, ReportTarget(1, (ReportedLesion(Sector(side="left")),)), WORDS, numbers, sector_map(zones, AFFINE),
        SPACING,
    )  # fmt: skip
    assert near.numbers == (2,)
    blind = choose(FOUND, ReportTarget(1, (ReportedLesion(Sector(side="left")),)), WORDS, numbers, None, SPACING)
    assert blind.numbers == (1,)
    assert blind.reason == "places not used: no zones"


@pytest.mark.parametrize(
    ("target", "what"),
    [
        (ReportTarget(1, (ReportedLesion(Sector(side="left")),)), ""),
        (ReportTarget(1, (ReportedLesion(Sector("transition zone", "left")),)), "left transition zone"),
        (ReportTarget(2, (ReportedLesion(), ReportedLesion(diameter_mm=90.0))), "90 mm"),
        (ReportTarget(2, (ReportedLesion(), ReportedLesion(diameter_mm=60.0))), ""),
        (ReportTarget(12), ""),
        (ReportTarget(40), "40 lesions; the zone mask has 12 sectors"),
    ],
)
def test_what_cannot_be_in_the_zones_is_told(target: ReportTarget, what: str) -> None:
    zones = np.ones((9, 40, 40), dtype=np.uint8)  # a peripheral zone alone, 63 mm from corner to corner
    told = misfit(target, sector_map(zones, AFFINE), SPACING)
    assert what in told
    assert bool(told) == bool(what)


def test_an_empty_zone_mask_holds_no_place_and_says_nothing_of_counts() -> None:
    empty = np.zeros((9, 40, 40), dtype=np.uint8)
    assert misfit(ReportTarget(3), empty, SPACING) == ""
    assert "no voxel" in misfit(ReportTarget(1, (ReportedLesion(Sector(side="left")),)), empty, SPACING)


def test_a_located_lesion_without_a_candidate_can_be_kept(numbers: np.ndarray, sectors: np.ndarray) -> None:
    located = ReportedLesion(Sector(zone="transition zone"), 90.0)
    target = ReportTarget(2, (located,))
    kept = choose(FOUND, target, WORDS, numbers, sectors, SPACING, keep_unmatched=True)
    assert kept.unmatched == (located,)
    assert len(kept.numbers or ()) == 1
    # Nowhere in particular is no place where it could be outlined.
    nowhere = ReportTarget(1, (ReportedLesion(diameter_mm=90.0),))
    assert choose(FOUND, nowhere, WORDS, numbers, sectors, SPACING, keep_unmatched=True).numbers is None
    assert choose(FOUND, target, WORDS, numbers, None, SPACING, keep_unmatched=True).numbers is None
