"""Ways in which prostate MRI reports of many hospitals say where in the prostate a finding is.

Written by somebody who had seen no other wording of this project, and asked once, when phrases.py was finished. No
training sees them. `write` returns the same place in many styles: prose, dictation, headlines, shorthand, templates and
registry exports.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from nnunetv2_textguided.anatomy.sectors import SECTORS
from nnunetv2_textguided.text.phrases import Phrase, places

Table = dict[str, str]

PLAIN: Table = {}
SHORT: Table = {
    "peripheral zone": "PZ",
    "transition zone": "TZ",
    "left": "L",
    "right": "R",
    "apex": "apex",
    "mid-gland": "mid",
    "base": "base",
    "anterior": "ant",
    "posterior": "post",
}
CLIPPED: Table = {
    "peripheral zone": "PZ",
    "transition zone": "TZ",
    "left": "Lt",
    "right": "Rt",
    "mid-gland": "midgland",
    "anterior": "ant.",
    "posterior": "post.",
}
INITIALS: Table = {"peripheral zone": "PZ", "transition zone": "TZ", "mid-gland": "mid gland"}
ADJECTIVE: Table = {"left": "left-sided", "right": "right-sided", "apex": "apical", "base": "basal"}
GERMANIC: Table = {
    "peripheral zone": "PZ",
    "transition zone": "TZ",
    "apex": "apical",
    "mid-gland": "midglandular",
    "base": "basal",
    "anterior": "ventral",
    "posterior": "dorsal",
}
THIRDS: Table = {
    "transition zone": "transitional zone",
    "apex": "apical third",
    "mid-gland": "middle third",
    "base": "basal third",
}
ADVERB: Table = {
    "peripheral zone": "in the peripheral zone",
    "transition zone": "in the transition zone",
    "left": "on the left",
    "right": "on the right",
    "apex": "at the apex",
    "mid-gland": "at mid-gland level",
    "base": "at the base",
    "anterior": "anteriorly",
    "posterior": "posteriorly",
}
ADVERB_LONG: Table = {
    "peripheral zone": "within the PZ",
    "transition zone": "within the TZ",
    "left": "on the left side",
    "right": "on the right side",
    "apex": "at the level of the apex",
    "mid-gland": "at the level of the midgland",
    "base": "at the level of the base",
    "anterior": "in an anterior position",
    "posterior": "in a posterior position",
}


@dataclass(frozen=True)
class Place:
    """Where a finding is; a part which the report does not mention is None."""

    zone: str | None
    side: str | None
    level: str | None
    depth: str | None

    def words(self, order: str, table: Table) -> list[str]:
        """The words of the table for the parts that are given, in the order named."""
        values = (getattr(self, part) for part in order.split())
        return [table.get(value, value) for value in values if value]

    def fields(self, labels: Table, table: Table) -> list[tuple[str, str]]:
        """Pairs of a label and a word for the parts that are given, in the order of the labels."""
        return [(label, self.words(part, table)[0]) for part, label in labels.items() if getattr(self, part)]


def capital(text: str) -> str:
    """The text with a capital first letter and the rest as it is."""
    return text[:1].upper() + text[1:]


def noun(place: Place, table: Table = PLAIN) -> str:
    """As in 'left apex posterior peripheral zone', 'left posterior apex' or 'left posterior prostate'."""
    if place.zone:
        return " ".join(place.words("side level depth zone", table))
    return " ".join(place.words("side depth level", table) + ([] if place.level else ["prostate"]))


def third(place: Place) -> str:
    """As in 'posterior transitional zone in the left middle third' or 'left anterior quadrant of the prostate'."""
    if place.zone:
        inner = " ".join(place.words("depth zone", THIRDS))
        if place.level:
            return f"{inner} in the {' '.join(place.words('side level', THIRDS))}"
        return f"{inner} in the {place.side} half of the prostate" if place.side else inner
    if place.level:
        return f"{' '.join(place.words('side depth level', THIRDS))} of the prostate"
    kind = "quadrant" if place.side and place.depth else "half"
    return f"{' '.join(place.words('side depth', PLAIN))} {kind} of the prostate"


def nested(place: Place) -> str:
    """As in 'posterior aspect of the peripheral zone of the left mid-gland'."""
    parts = [f"{place.depth} aspect"] if place.depth else []
    parts += place.words("zone", PLAIN)
    if place.level:
        parts.append(" ".join(place.words("side level", PLAIN)))
    elif place.side:
        parts.append(f"{place.side} lobe")
    return " of the ".join(parts if len(parts) > 1 else [*parts, "prostate"])


def lobe(place: Place) -> str:
    """As in 'left lobe, peripheral zone, apical third, posterior part', the largest part first."""
    parts = [f"{place.side} lobe"] if place.side else [] if place.zone else ["prostate"]
    parts += place.words("zone level", THIRDS)
    return ", ".join(parts + ([f"{place.depth} part"] if place.depth else []))


def lesion(place: Place) -> str:
    """As in 'a left-sided, apical, posterior lesion in the peripheral zone'."""
    adjectives = ", ".join(place.words("side level depth", ADJECTIVE))
    article = "an" if adjectives.startswith("a") else "a"
    return " ".join([article] + ([adjectives] if adjectives else []) + ["lesion"] + place.words("zone", ADVERB))


def bracketed(place: Place) -> str:
    """As in 'left PZ (apex, posterior)', or without the brackets where nothing stands before them."""
    first = " ".join(place.words("side zone", INITIALS))
    second = ", ".join(place.words("level depth", INITIALS))
    if first and not place.zone:
        first += " side"
    return f"{first} ({second})" if first and second else first or second


def sector(place: Place) -> str:
    """As in 'L-mid-PZp', the zone carrying the letter of the depth."""
    parts = place.words("side level", SHORT)
    letter = place.depth[0] if place.depth else ""
    return "-".join(parts + ([SHORT[place.zone] + letter] if place.zone else place.words("depth", SHORT)))


def glued(place: Place) -> str:
    """As in 'LPZ mid post', side and zone written as one code."""
    code = "".join(place.words("side zone", SHORT))
    return " ".join(([code] if code else []) + place.words("level depth", SHORT))


def two_sentences(place: Place) -> str:
    """Side and zone in a first sentence, level and depth in a second one."""
    first = place.words("side zone", PLAIN)
    second = place.words("level depth", ADVERB_LONG)
    if not place.zone and first:
        first.append("half of the prostate")
    text = f"The index lesion is in the {' '.join(first)}." if first else "A single index lesion is seen."
    return text + (f" It is found {' and '.join(second)}." if second else "")


def prose(place: Place) -> list[str]:
    """Full sentences of written reports."""
    known = place.words("side level depth", GERMANIC) + ["lesion"] + ([f"of the {place.zone}"] if place.zone else [])
    return [
        f"There is a 12 mm focus of low T2 signal in the {noun(place)}, with marked diffusion restriction. PI-RADS 4.",
        f"{capital(', '.join(place.words('side level depth zone', ADVERB)))}, there is an ill-defined 9 x 7 mm area of "
        "moderately low T2 signal.",
        f"The {nested(place)} contains an 11 mm lesion with early enhancement, Likert 4/5.",
        f"{capital(lesion(place))} measures 1.4 cm and is suspicious for clinically significant cancer.",
        f"Suspicious lesion located {' '.join(place.words('depth zone side level', ADVERB))}.",
        f"{two_sentences(place)} Overall score: PI-RADS 3.",
        f"Targeted biopsy of the {third(place)} is advised, where the ADC falls to 680.",
        f"Compared with 2019, the known {' '.join(known)} has grown from 6 to 10 mm.",
        f"One area enhances early; it lies {', '.join(place.words('zone side level depth', ADVERB_LONG))}.",
        f"Hypointense, diffusion-restricting lesion, {' '.join(place.words('zone side level depth', GERMANIC))}, 8 mm.",
        f"Only one suspicious finding is noted ({', '.join(place.words('level side zone depth', INITIALS))}).",
    ]


def spoken(place: Place) -> list[str]:
    """Dictation, typed as it was said."""
    singles = ". ".join(capital(word) for word in place.words("side zone level depth", PLAIN))
    return [
        f"OK so lesion number one, this sits {', '.join(place.words('level side depth zone', ADVERB))}, it's about "
        "1.1 centimetres, call it a PI-RADS 4 please.",
        f"Next lesion. {singles}. Size nine millimetres. Score four.",
        f"Dark on ADC, bright at high b-value, {' '.join(place.words('side level zone depth', ADVERB_LONG))}.",
    ]


def headlines(place: Place) -> list[str]:
    """Conclusions, lists of lesions and titles."""
    return [
        f"Lesion 1 ({', '.join(place.words('zone depth side level', PLAIN))}): 14 mm, PI-RADS 5.",
        f"IMPRESSION: PI-RADS 4 LESION, {noun(place, INITIALS).upper()}.",
        f"1. {capital(bracketed(place))}: equivocal, Likert 3. Repeat PSA in 6 months.",
        f"{capital(lobe(place))} - 10 mm nodular lesion, probably malignant.",
        f"PI-RADS v2.1 category 4: {' - '.join(place.words('level depth zone side', INITIALS))}.",
    ]


def shorthand(place: Place) -> list[str]:
    """Abbreviated notes of worklists, biopsy plans and tumour boards."""
    return [
        f"Target A: {sector(place)}, 10 mm",
        f"ROI 2 = {glued(place)}, 0.9 cc",
        f"{'/'.join(place.words('zone side level depth', SHORT))} - UCLA score 4",
        f"{capital(' '.join(place.words('side level depth zone', CLIPPED)))} lesion, 13 mm, P4, for fusion bx",
        f"MDT: mpMRI susp {' '.join(place.words('level zone depth side', SHORT))} -> for bx",
        f"susp. ca {noun(place, CLIPPED)}, ADC 0.71, DCE +",
    ]


def templates(place: Place) -> list[str]:
    """Structured reports; a field that was not filled in is not printed."""
    lines = place.fields({"side": "Side", "level": "Level", "zone": "Zone", "depth": "Depth"}, PLAIN)
    long = place.fields({"zone": "Origin", "side": "Laterality", "level": "Level", "depth": "Aspect"}, THIRDS)
    asked = place.fields({"side": "side", "zone": "zone", "level": "level", "depth": "aspect"}, INITIALS)
    return [
        "\n".join(["LESION 1"] + [f"{label}: {capital(word)}" for label, word in lines] + ["Maximum diameter: 15 mm"]),
        "; ".join([f"{label} - {word}" for label, word in long] + ["T2 score - 4", "DWI score - 4"]),
        " ".join(f"[x] {capital(word)}" for word in place.words("zone level side depth", INITIALS)) + " [x] 5-14 mm",
        " ".join([f"Which {label}? {capital(word)}." for label, word in asked] + ["How suspicious? 4 out of 5."]),
        f"| #1 | {' | '.join(place.words('level side depth zone', CLIPPED))} | 12 mm | PI-RADS 4 |",
    ]


def exports(place: Place) -> list[str]:
    """Rows of registries and of reporting software."""
    keys = {"zone": "zone", "side": "side", "level": "level", "depth": "depth"}
    tags = "".join(f"<{key}>{word}</{key}>" for key, word in place.fields(keys, INITIALS))
    codes = place.fields({"side": "SIDE", "zone": "ZONE", "level": "LVL", "depth": "DEPTH"}, SHORT)
    segments = place.fields({"level": "Level", "depth": "Depth", "side": "Laterality", "zone": "Zone"}, PLAIN)
    return [
        json.dumps({"lesion": 1} | dict(place.fields(keys, PLAIN)) | {"pirads": 4}),
        ";".join([f"LES1_{key}={word.upper()}" for key, word in codes] + ["LES1_MM=11"]),
        f'<lesion id="1">{tags}<size unit="mm">8</size></lesion>',
        "\n".join(f"OBX|{row}|ST|Lesion {key}||{word}" for row, (key, word) in enumerate(segments, start=1)),
    ]


def write(zone: str | None, side: str | None, level: str | None, depth: str | None) -> list[str]:
    """Texts in different styles, each naming the given parts of a place and no other."""
    place = Place(zone, side, level, depth)
    styles = (prose, spoken, headlines, shorthand, templates, exports)
    return [text for style in styles for text in style(place)]


def of_sectors() -> tuple[Phrase, ...]:
    """All styles of each sector."""
    return tuple(Phrase(text, sector) for sector in SECTORS for text in write(*sector))


def of_places() -> tuple[Phrase, ...]:
    """All styles of each place that can be named, of whatever extent."""
    return tuple(Phrase(text, place) for place in places() for text in write(*place))
