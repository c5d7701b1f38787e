"""Location phrases: every place in many wordings, the right sectors, and wordings that no training sees."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from nnunetv2_textguided.anatomy.sectors import SECTORS, Sector, values_within
from nnunetv2_textguided.text.phrases import WORDINGS, held_out_phrases, places, training_phrases

WORDS = {
    "peripheral zone": r"\b(peripheral|PZ)\b",
    "transition zone": r"\b(transition|transitional|TZ)\b",
    "left": r"\bleft\b",
    "right": r"\bright\b",
    "apex": r"\b(apex|apical)\b",
    "mid-gland": r"\b(mid-gland|midgland|middle)\b",
    "base": r"\b(base|basal)\b",
    "anterior": r"\banterior\b",
    "posterior": r"\bposterior\b",
}


def test_every_place_but_the_whole_is_named() -> None:
    assert len(places()) == len(set(places())) == 3 * 3 * 4 * 3 - 1
    assert Sector(zone="peripheral zone", side="left") in places()
    assert set(SECTORS) < set(places())
    assert all(0 < len(values_within(place)) <= len(SECTORS) / 2 for place in places())


@pytest.mark.parametrize("phrases", [training_phrases(), held_out_phrases()], ids=["training", "held out"])
def test_a_phrase_says_what_its_sector_is_and_nothing_else(phrases: tuple) -> None:
    for phrase in phrases:
        said = {word for word, pattern in WORDS.items() if re.search(pattern, phrase.text)}
        assert said == {word for word in phrase.sector if word is not None}, phrase
        assert "  " not in phrase.text
        assert phrase.text == phrase.text.strip(" ,:")


def test_a_text_names_one_place_only_and_each_place_has_all_its_wordings() -> None:
    phrases = training_phrases()
    assert len({phrase.text for phrase in phrases}) == len(phrases)
    assert set(Counter(phrase.sector for phrase in phrases).values()) == {WORDINGS}


def test_held_out_wordings_are_in_no_training_with_or_without_their_frame() -> None:
    seen = {phrase.text for phrase in training_phrases()}
    held_out = held_out_phrases()
    assert len(held_out) == 3 * len(places())
    assert not seen & {phrase.text for phrase in held_out}
    frames = {re.split(r"(?:within the|in the|nodule,) ", phrase.text, maxsplit=1)[0] for phrase in held_out}
    assert not any(text.startswith(frame) for frame in frames if frame for text in seen)


def test_phrases_are_the_same_in_every_run() -> None:
    assert training_phrases()[0].text == "anterior prostate"
    assert training_phrases() == training_phrases()
