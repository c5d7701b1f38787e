"""Phrases that name a place in the prostate, in many wordings, each with the sectors that it names.

`encode` embeds them for the grounding head, which learns what they name: the text encoder reads the phrase, anatomy
says where it is. Nothing in this package parses a sentence. Wordings are drawn at random, but the same ones in every
run: what is said of a place is spread before and behind its zone, listed, or given by keys, in any order and in many
words, within sentences that say other things as well, so that only the place is common to the phrases of a place.
"""

from __future__ import annotations

from itertools import product
from random import Random
from typing import NamedTuple

from nnunetv2_textguided.anatomy.sectors import DEPTHS, LEVELS, SIDES, ZONES, Sector

WORDINGS = 32
"""Phrases of each place in training."""
SCATTERED = 0.25
"""Share of them in which the words for the place are not together."""


class Phrase(NamedTuple):
    """Words for a place, and the place: the union of the sectors that it contains."""

    text: str
    sector: Sector


class _Words(NamedTuple):
    """What a side, level or depth is called: in a list, before the zone, and behind it."""

    listed: tuple[str, ...]
    before: tuple[str, ...]
    behind: tuple[str, ...]


_ZONES = {
    ZONES[0]: (
        "peripheral zone", "peripheral zone", "PZ", "PZ", "peripheral zone of the prostate", "peripheral gland",
        "peripheral zonal tissue", "periph zone",
    ),
    ZONES[1]: (
        "transition zone", "transition zone", "TZ", "TZ", "transitional zone", "transition zone of the prostate",
        "transitional gland", "trans zone",
    ),
    None: ("prostate", "gland", "prostate gland", "prostatic gland"),
}  # fmt: skip
"""Zone, or none said -> what it is called; the usual names twice, so that they are drawn more often."""
_WORDS = {
    "left": _Words(
        ("left", "left side", "left half", "L", "Lt", "left lobe", "left-sided"),
        ("left", "left", "left-sided", "L", "Lt"),
        ("on the left", "left", "on the left side", "of the left lobe", "in the left half", "left of the midline",
         "on the patient's left", "in the left hemigland", "(L)", "to the left"),
    ),
    "right": _Words(
        ("right", "right side", "right half", "R", "Rt", "right lobe", "right-sided"),
        ("right", "right", "right-sided", "R", "Rt"),
        ("on the right", "right", "on the right side", "of the right lobe", "in the right half", "right of the midline",
         "on the patient's right", "in the right hemigland", "(R)", "to the right"),
    ),
    "apex": _Words(
        ("apex", "apical", "apex of the prostate", "apical level", "prostatic apex", "apical third"),
        ("apical", "apical", "apex"),
        ("at the apex", "in the apex", "at apical level", "near the apex", "apically", "in the apical third",
         "at the level of the apex", "toward the apex"),
    ),
    "mid-gland": _Words(
        ("mid-gland", "midgland", "mid", "middle of the gland", "mid gland level", "mid-prostate", "middle third"),
        ("mid-gland", "midgland", "mid", "mid-prostatic", "midglandular"),
        ("at mid-gland", "in the midgland", "at mid level", "at the middle of the gland", "at mid-gland level",
         "in the middle third", "at the level of the mid gland", "in the mid portion"),
    ),
    "base": _Words(
        ("base", "basal", "base of the prostate", "basal level", "prostatic base", "basal third"),
        ("basal", "basal", "base"),
        ("at the base", "in the base", "at basal level", "near the base", "at the base of the gland",
         "in the basal third", "at the level of the base", "toward the base"),
    ),
    "anterior": _Words(
        ("anterior", "anterior part", "anteriorly", "ventral", "ant", "anterior half", "front"),
        ("anterior", "anterior", "ventral", "ant"),
        ("anteriorly", "in its anterior part", "on the anterior aspect", "ventrally", "anterior", "in the front part",
         "in the anterior half", "anteriorly located"),
    ),
    "posterior": _Words(
        ("posterior", "posterior part", "posteriorly", "dorsal", "post", "posterior half", "back"),
        ("posterior", "posterior", "dorsal", "post"),
        ("posteriorly", "in its posterior part", "on the posterior aspect", "dorsally", "posterior", "in the back part",
         "in the posterior half", "posteriorly located"),
    ),
}  # fmt: skip
_KEYS = (
    ("zone", "zonal anatomy", "region"),
    ("side", "laterality", "lobe"),
    ("level", "third", "height"),
    ("position", "AP", "depth"),
)
_MIDDLES = (
    "a {size} mm lesion",
    "a suspicious lesion is seen",
    "there is a focus of {size} mm",
    "a nodule with low T2 signal",
    "an area of restricted diffusion",
    "low ADC, high b-value signal",
    "PI-RADS {grade}",
    "a mass shows early enhancement",
    "suspected cancer",
)
"""What stands among the words for a place that are scattered over a sentence."""
_SENTENCES = (
    "{place}",
    "{place}",
    "the {place}",
    "in the {place}",
    "lesion in the {place}",
    "lesion, {place}",
    "a lesion is seen in the {place}",
    "PI-RADS {grade} lesion in the {place}",
    "PI-RADS {grade} lesion in the {place}",
    "PI-RADS {grade}, {place}",
    "{place} (PI-RADS {grade})",
    "PIRADS {grade}: {place}",
    "suspicious focus in the {place}",
    "suspicious for cancer: {place}",
    "index lesion: {place}",
    "target 1: {place}",
    "ROI 2, {place}",
    "location: {place}",
    "low T2 signal, {place}",
    "hypointense on T2, {place}",
    "{place}, with diffusion restriction",
    "marked low ADC in the {place}",
    "{place}: early enhancement",
    "{size} mm lesion in the {place}",
    "{place}, {size} mm",
    "focus of {size} mm, {place}",
    "mass measuring {size} mm in the {place}",
    "tumour in the {place}",
    "{place} shows a suspicious lesion",
    "abnormal signal of the {place}",
    "biopsy target in the {place}",
    "highly suspicious lesion located in the {place}",
    "equivocal lesion, {place}",
    "ill-defined hypointensity in the {place}",
)


def places() -> tuple[Sector, ...]:
    """Every place that names at least one of zone, side, level and depth: 107."""
    names = product((None, *ZONES), (None, *SIDES), (None, *LEVELS), (None, *DEPTHS))
    return tuple(Sector(*each) for each in names if any(each))


def training_phrases() -> tuple[Phrase, ...]:
    """The phrases that grounding is learned from: WORDINGS of each place."""
    phrases: dict[str, Phrase] = {}
    for number, place in enumerate(places(), start=1):
        draw = Random(" ".join(map(str, place)))
        while len(phrases) < number * WORDINGS:
            text = _scattered(draw, place) if draw.random() < SCATTERED else _within(draw, place)
            text = text.format(grade=draw.randint(2, 5), size=draw.randint(5, 35))
            phrases[text] = Phrase(text, place)
    return tuple(phrases.values())


def _within(draw: Random, place: Sector) -> str:
    """`PI-RADS 4 lesion in the left apex`."""
    return draw.choice(_SENTENCES).replace("{place}", draw.choice(_SYNTAXES)(draw, place))


def _around(draw: Random, place: Sector) -> str:
    """`left peripheral zone at the apex, anteriorly`."""
    said = [name for name in place[1:] if name]
    before = [name for name in said if draw.random() < 0.5]
    behind = [name for name in said if name not in before]
    draw.shuffle(before)
    draw.shuffle(behind)
    zone = draw.choice(_ZONES[place.zone])
    first = " ".join([*(draw.choice(_WORDS[name].before) for name in before), zone])
    return draw.choice((" ", " ", ", ")).join([first, *(draw.choice(_WORDS[name].behind) for name in behind)])


def _part(draw: Random, place: Sector) -> str:
    """`anterior part of the left peripheral zone at the apex`."""
    said = [name for name in (place.level, place.depth) if name]
    draw.shuffle(said)
    zone = " ".join(filter(None, (place.side, draw.choice(_ZONES[place.zone]))))
    if not said:
        return zone
    part = f"{draw.choice(_WORDS[said[0]].before)} {draw.choice(('part', 'portion', 'aspect'))}"
    return " ".join([part, "of the", zone, *(draw.choice(_WORDS[name].behind) for name in said[1:])])


def _listed(draw: Random, place: Sector) -> str:
    """`apex / PZ / L / anterior`."""
    said = [_name(draw, name) for name in place if name]
    draw.shuffle(said)
    return draw.choice((", ", ", ", "; ", " / ", " - ", " ")).join(said)


def _keyed(draw: Random, place: Sector) -> str:
    """`side: left; zone: PZ`."""
    said = [(draw.choice(keys), _name(draw, name)) for keys, name in zip(_KEYS, place, strict=True) if name]
    draw.shuffle(said)
    equals = draw.choice((": ", " = ", "=", " "))
    return draw.choice((", ", "; ")).join(f"{key}{equals}{name}" for key, name in said)


def _scattered(draw: Random, place: Sector) -> str:
    """`at the apex a 12 mm lesion in the PZ, anteriorly, on the left`."""
    said = [draw.choice(_WORDS[name].behind) for name in place[1:] if name]
    said.append(f"in the {draw.choice(_ZONES[place.zone])}")
    draw.shuffle(said)
    said.insert(draw.randint(0, len(said)), draw.choice(_MIDDLES))
    return draw.choice((" ", " ", ", ")).join(said)


def _name(draw: Random, name: str) -> str:
    return draw.choice(_ZONES[name] if name in ZONES else _WORDS[name].listed)


_SYNTAXES = (_around, _around, _around, _part, _listed, _keyed)
