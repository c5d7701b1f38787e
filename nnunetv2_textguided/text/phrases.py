"""Phrases that name a place in the prostate, in many wordings, each with the sectors that it names.

`encode` embeds them for the grounding head, which learns what they name: the text encoder reads the phrase, anatomy
says where it is. Nothing in this package parses a sentence. Wordings that no training sees are kept for tests: other
syntax, other frames and other words for the levels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import NamedTuple

from nnunetv2_textguided.anatomy.sectors import DEPTHS, LEVELS, SIDES, ZONES, Sector

WORDINGS = 14
"""Phrases of each place in training."""


class Phrase(NamedTuple):
    """Words for a place, and the place: the union of the sectors that it contains."""

    text: str
    sector: Sector


class _Words(NamedTuple):
    """One choice of words for a place; empty: not said."""

    zone: str
    side: str
    level: str
    level_adjective: str
    depth: str


_ZONES = {
    ZONES[0]: ("peripheral zone", "PZ", "peripheral zone of the prostate"),
    ZONES[1]: ("transition zone", "TZ", "transitional zone"),
    None: ("prostate", "gland", "prostate gland"),
}
_LEVELS = {"apex": ("apex",), "mid-gland": ("mid-gland", "midgland", "middle of the gland"), "base": ("base",)}
_LEVEL_ADJECTIVES = {"apex": ("apical",), "mid-gland": ("mid-gland", "midgland"), "base": ("basal",)}
_THIRDS = {"apex": "apical", "mid-gland": "middle", "base": "basal"}

_FRAMES = (
    "{}",
    "the {}",
    "lesion in the {}",
    "PI-RADS 3 lesion in the {}",
    "PI-RADS 4 lesion in the {}",
    "PI-RADS 5 lesion in the {}",
    "suspicious focus in the {}",
    "index lesion: {}",
    "low T2 signal, {}",
)
_HELD_OUT_FRAMES = ("area of restricted diffusion within the {}", "there is a finding in the {}", "nodule, {}")


def _list(*parts: str) -> str:
    """Parts that are not empty, between commas."""
    return ", ".join(part for part in parts if part)


def _phrase(*words: str) -> str:
    """Words that are not empty."""
    return " ".join(word for word in words if word)


def _at(level: str) -> str:
    return f"at the {level}" if level else ""


def _on(side: str) -> str:
    return f"on the {side}" if side else ""


_TEMPLATES: tuple[Callable[[_Words], str], ...] = (
    lambda w: _phrase(w.side, w.depth, w.zone, _at(w.level)),
    lambda w: _phrase(w.level_adjective, w.depth, w.zone, _on(w.side)),
    lambda w: _list(w.level, w.depth, _phrase(w.zone, _on(w.side))),
    lambda w: ": ".join(filter(None, (w.zone, _list(w.side, w.depth, w.level)))),
    lambda w: _list(_phrase(w.side, w.level), _phrase(w.depth, w.zone)),
    lambda w: _phrase(w.level, "of the" if w.level else "", w.side, w.depth, w.zone),
    lambda w: _phrase(w.depth, "part of the" if w.depth else "", w.side, w.zone, _at(w.level)),
)
_HELD_OUT_TEMPLATES: tuple[Callable[[_Words], str], ...] = (
    lambda w: _phrase(w.zone, _list(f"of the {w.side} side" if w.side else "", w.depth, _third("in the", w))),
    lambda w: _list(_third("", w), w.side, _phrase(w.depth, w.zone)),
    lambda w: _list(_phrase(f"{w.side}-sided" if w.side else "", w.zone), w.depth, w.level),
)


def _third(before: str, words: _Words) -> str:
    return _phrase(before, words.level_adjective, "third") if words.level_adjective else ""


def places() -> tuple[Sector, ...]:
    """Every place that names at least one of zone, side, level and depth: 107."""
    names = product((None, *ZONES), (None, *SIDES), (None, *LEVELS), (None, *DEPTHS))
    return tuple(Sector(*each) for each in names if any(each))


def training_phrases() -> tuple[Phrase, ...]:
    """The phrases that grounding is learned from: WORDINGS of each place, fewer where two coincide."""
    phrases = {}
    for number, sector in enumerate(places()):
        for wording in range(WORDINGS):
            # Strides without a common divisor, so that syntax, words and frames meet in every combination.
            choice = number + wording // len(_TEMPLATES)
            place = _TEMPLATES[wording % len(_TEMPLATES)](_words(sector, choice))
            phrase = Phrase(_pick(_FRAMES, 5 * number + 2 * wording).format(place), sector)
            phrases[phrase.text] = phrase
    return tuple(phrases.values())


def held_out_phrases() -> tuple[Phrase, ...]:
    """Wordings that are in no training: three of each place."""
    phrases = []
    for number, sector in enumerate(places()):
        words = _words(sector, 0)
        if sector.level is not None:
            words = words._replace(level_adjective=_THIRDS[sector.level])
        for wording, template in enumerate(_HELD_OUT_TEMPLATES):
            frame = _pick(_HELD_OUT_FRAMES, number + wording)
            phrases.append(Phrase(frame.format(template(words)), sector))
    return tuple(phrases)


def _words(sector: Sector, choice: int) -> _Words:
    level = sector.level
    return _Words(
        _pick(_ZONES[sector.zone], choice),
        sector.side or "",
        _pick(_LEVELS[level], choice) if level else "",
        _pick(_LEVEL_ADJECTIVES[level], choice) if level else "",
        sector.depth or "",
    )


def _pick(options: Sequence[str], number: int) -> str:
    return options[number % len(options)]
