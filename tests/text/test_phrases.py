"""Location phrases: every place in many wordings, the right sectors, and wordings that no training sees."""

from __future__ import annotations

import hashlib
import re
from collections import Counter

import pytest

from nnunetv2_textguided.anatomy.sectors import SECTORS, Sector, values_within
from nnunetv2_textguided.text.phrases import WORDINGS, Phrase, places, training_phrases
from tests.conftest import REPOSITORY
from tests.scripts import load_script

WORDINGS_ELSEWHERE = load_script(REPOSITORY / "docs" / "evidence" / "wordings.py")
UNSEEN: tuple[Phrase, ...] = WORDINGS_ELSEWHERE.of_places()

WORDS = {
    "peripheral zone": r"\b(peripheral|periph|[LR]?PZ[ap]?)\b",
    "transition zone": r"\b(transition|transitional|trans|[LR]?TZ[ap]?)\b",
    "left": r"\b(left|L|lt|L[PT]Z)\b",
    "right": r"\b(right|R|rt|R[PT]Z)\b",
    "apex": r"\b(apex|apical|apically)\b",
    "mid-gland": r"\b(mid|midgland|middle|midglandular)\b",
    "base": r"\b(base|basal)\b",
    "anterior": r"\b(anterior|anteriorly|ventral|ventrally|ant|front|[PT]Za)\b",
    "posterior": r"\b(posterior|posteriorly|dorsal|dorsally|post|back|[PT]Zp)\b",
}


def test_every_place_but_the_whole_is_named() -> None:
    assert len(places()) == len(set(places())) == 3 * 3 * 4 * 3 - 1
    assert Sector(zone="peripheral zone", side="left") in places()
    assert set(SECTORS) < set(places())
    assert all(0 < len(values_within(place)) <= len(SECTORS) / 2 for place in places())


@pytest.mark.parametrize("phrases", [training_phrases(), UNSEEN], ids=["training", "unseen"])
def test_a_phrase_says_what_its_sector_is_and_nothing_else(phrases: tuple[Phrase, ...]) -> None:
    for phrase in phrases:
        said = {word for word, pattern in WORDS.items() if re.search(pattern, phrase.text, re.IGNORECASE)}
        assert said == {word for word in phrase.sector if word is not None}, phrase
        assert "  " not in phrase.text
        assert phrase.text == phrase.text.strip(" ,:")


def test_a_text_names_one_place_only_and_each_place_has_all_its_wordings() -> None:
    phrases = training_phrases()
    assert len({phrase.text for phrase in phrases}) == len(phrases)
    assert set(Counter(phrase.sector for phrase in phrases).values()) == {WORDINGS}


def test_unseen_wordings_are_in_no_training() -> None:
    seen = {phrase.text.lower() for phrase in training_phrases()}
    assert len(UNSEEN) == 34 * len(places())
    assert set(WORDINGS_ELSEWHERE.of_sectors()) == {phrase for phrase in UNSEEN if phrase.sector in SECTORS}
    assert not seen & {phrase.text.lower() for phrase in UNSEEN}


def test_phrases_are_the_same_in_every_run() -> None:
    phrases = training_phrases()
    assert phrases == training_phrases()
    assert hashlib.sha256("\n".join(phrase.text for phrase in phrases).encode()).hexdigest()[:16] == "f200bda65cb2b657"
