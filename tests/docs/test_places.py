"""The study of sentences (docs/evidence/places.py, readings.py): what is said, where it is found, the page's table."""

from __future__ import annotations

import random
import re
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from nnunetv2_textguided.anatomy.sectors import SECTORS
from tests.conftest import REPOSITORY
from tests.scripts import load_script

FOLDER = REPOSITORY / "docs" / "evidence"


@pytest.fixture(scope="module")
def places() -> ModuleType:
    return load_script(FOLDER / "places.py")


@pytest.fixture(scope="module")
def readings() -> ModuleType:
    return load_script(FOLDER / "readings.py")


def test_the_page_has_the_table_of_its_file(places: ModuleType) -> None:
    page = (REPOSITORY / "docs" / "case_text_evidence.md").read_text(encoding="utf-8")
    assert f"<!-- places -->\n{places.table()}\n<!-- end -->" in page


def test_a_perfect_map_has_a_dice_of_one_and_an_empty_one_is_nowhere(places: ModuleType) -> None:
    sectors = np.zeros((4, 8, 8), dtype=np.int16)
    sectors[:, :4], sectors[:, 4:] = 3, 7
    case, right = places.Places(sectors, np.zeros((4, 8, 8), dtype=np.int16)), (sectors == 3).astype(float)
    lesion = 0.8 * right
    assert case.found(right, {3}, lesion) == {"dice": 1.0, "contradicted": False}
    assert case.found(1 - right, {3}, lesion) == {"dice": 0.0, "contradicted": True}
    assert case.found(np.zeros_like(right), {3}, lesion) == {"dice": 0.0, "contradicted": None}
    assert case.found(right, {5}, lesion)["dice"] is None, "the case has no such sector"


def test_where_no_sector_is_known_a_lesion_does_not_count(places: ModuleType) -> None:
    sectors, label = np.full((4, 8, 8), 3, dtype=np.int16), np.zeros((4, 8, 8), dtype=np.int16)
    sectors[0], label[0] = 0, 1
    assert places.Places(sectors, label).found(np.ones(label.shape), {3}, np.zeros(label.shape))["dice"] == 1.0


def test_codes_depend_on_the_text_alone(places: ModuleType) -> None:
    first, second = places.code_of("left apex", 384), places.code_of("right apex", 384)
    assert np.array_equal(first, places.code_of("left apex", 384))
    assert np.linalg.norm(first) == pytest.approx(1)
    assert abs(first @ second) < 0.2


def test_words_and_codes_are_compared_on_the_cases_that_both_have(places: ModuleType) -> None:
    draw = np.random.default_rng(0)
    index = pd.MultiIndex.from_product([(1, 2), range(5), range(12)], names=["repeat", "fold", "patient"])
    words = index.to_frame(index=False).assign(asked=3, dice=draw.uniform(0.4, 0.6, len(index)))
    words["case"] = (words["fold"] * 100 + words["patient"]).astype(str) + "_1"
    same, worse = places.difference(words, words), places.difference(words, words.assign(dice=words["dice"] - 0.3))
    assert (same.value, same.cases, same.patients) == (0, 60, 60)
    assert worse.value == pytest.approx(0.3)
    assert worse.ends.low < 0.3 < worse.ends.high
    fewer = places.difference(words, words[words["patient"] > 1])
    assert (fewer.value, fewer.cases) == (0, 50)


@pytest.mark.parametrize("wordings", ["KNOWN", "UNSEEN"])
def test_a_sentence_names_the_finding_s_place_and_grade(readings: ModuleType, wordings: str) -> None:
    known, draw = getattr(readings, wordings), random.Random(0)
    for number, sector in enumerate(SECTORS, start=1):
        said = readings._said(readings.Finding(sector, 2), known, draw)
        assert said["place"] == str(number)
        assert re.findall(r"(?:PI-?RADS|score|Likert) (\d)", said["sentence"]) == ["2"]
        texts = [re.sub(r"\d(/5)?", "", text).rstrip(".") for text in known[sector]]
        assert any(re.sub(r"\d", "", said["sentence"]).startswith(text) for text in texts)
