"""Wordings of places that no training sees (nnunetv2_textguided/text/phrases.py has those that it does).

The first were looked at while the training wordings were written: three syntaxes, for places of any extent, with words
for levels that training lacks. The others were written by someone who had seen no other wording of this project, as
reports of many hospitals read, and were asked once, at the end: 36 syntaxes of a zone, side, level and depth.
"""

from __future__ import annotations

from collections.abc import Iterator

from nnunetv2_textguided.anatomy.sectors import SECTORS, Sector
from nnunetv2_textguided.text.phrases import Phrase, places

_FRAMES = ("area of restricted diffusion within the {}", "there is a finding in the {}", "nodule, {}")
_THIRDS = {"apex": "apical third", "mid-gland": "middle third", "base": "basal third"}


def development() -> tuple[Phrase, ...]:
    """Three phrases of each place."""
    return tuple(
        Phrase(_FRAMES[(number + wording) % 3].format(text), place)
        for number, place in enumerate(places())
        for wording, text in enumerate(_development(place))
    )


def _development(place: Sector) -> Iterator[str]:
    zone, side, depth = place.zone or "prostate", place.side or "", place.depth or ""
    third = _THIRDS[place.level] if place.level else ""
    yield _words(zone, _list(f"of the {side} side" if side else "", depth, f"in the {third}" if third else ""))
    yield _list(third, side, _words(depth, zone))
    yield _list(_words(f"{side}-sided" if side else "", zone), depth, place.level or "")


def _list(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _words(*words: str) -> str:
    return " ".join(word for word in words if word)


def independent() -> tuple[Phrase, ...]:
    """36 phrases of each sector."""
    return tuple(Phrase(wording.format_map(_forms(sector)), sector) for sector in SECTORS for wording in INDEPENDENT)


def _forms(sector: Sector) -> dict[str, str]:
    words: dict[str, str] = {}
    for name in sector:
        words |= _FORMS[str(name)]
    return words


_FORMS = {
    "peripheral zone": {
        "PZ": "PZ", "pz": "pz", "zone": "peripheral zone", "Zone": "Peripheral zone", "ZONE": "PERIPHERAL ZONE",
        "zonal": "peripheral zone", "zone_": "peripheral-zone", "short": "periph. zone", "sequence": "DWI",
        "signal": "focal marked hypointensity on ADC with high signal on b1400",
    },
    "transition zone": {
        "PZ": "TZ", "pz": "tz", "zone": "transition zone", "Zone": "Transition zone", "ZONE": "TRANSITION ZONE",
        "zonal": "transitional zone", "zone_": "transition-zone", "short": "transit. zone", "sequence": "T2W",
        "signal": "lenticular, ill-defined, homogeneous T2 hypointensity",
    },
    "left": {"L": "L", "side": "left", "Side": "Left", "SIDE": "LEFT", "sided": "left-sided", "Lt": "Lt", "lt": "lt"},
    "right": {
        "L": "R", "side": "right", "Side": "Right", "SIDE": "RIGHT", "sided": "right-sided", "Lt": "Rt", "lt": "rt",
    },
    "apex": {
        "apical": "apical", "Apical": "Apical", "third": "apical third", "apex": "apex", "APEX": "APEX",
        "apex_": "apex", "the": "the apex", "apic": "apical", "at": "at apical level", "Apex": "Apex", "ap": "apex",
        "part": "prostatic apex",
    },
    "mid-gland": {
        "apical": "midglandular", "Apical": "Midgland", "third": "middle third", "apex": "midgland", "APEX": "MIDGLAND",
        "apex_": "mid gland", "the": "the mid-gland", "apic": "mid-gland", "at": "at mid-gland level", "Apex": "Mid",
        "ap": "mid", "part": "mid-prostate",
    },
    "base": {
        "apical": "basal", "Apical": "Basal", "third": "basal third", "apex": "base", "APEX": "BASE", "apex_": "base",
        "the": "the base", "apic": "basal", "at": "at the level of the base", "Apex": "Base", "ap": "base",
        "part": "prostatic base",
    },
    "anterior": {
        "depth": "anterior", "Depth": "Anterior", "DEPTH": "ANTERIOR", "an": "an anterior", "ant": "ant", "a": "a",
        "ventral": "ventral", "ventrally": "ventrally", "ly": "anteriorly", "front": "front",
    },
    "posterior": {
        "depth": "posterior", "Depth": "Posterior", "DEPTH": "POSTERIOR", "an": "a posterior", "ant": "post", "a": "p",
        "ventral": "dorsal", "ventrally": "dorsally", "ly": "posteriorly", "front": "back",
    },
}  # fmt: skip

INDEPENDENT = (
    "{L} {ant} {PZ} {apex}, 11 mm, PI-RADS 4",
    "There is a 14 mm lesion in the {side} {depth} {zone} at {the}.",
    "Location: {side}; {apex}; {depth}; {zone}.",
    "Side: {L} | Level: {Apex} | Zone: {PZ} | A/P: {depth}",
    "Within the {third} of the gland on the {side}, {signal} is seen in the {depth} part of the {zone}.",
    "Lesion 1: {L} {PZ}{a} {ap} (sector map), score 5",
    "Suspicious focus {ventral} in the {apical} {zone} on the {side}, measuring 0.9 x 0.7 cm.",
    "Ser 5 img 17: {apex_} {PZ}, {side} of midline, {depth} aspect.",
    "{Side} hemigland, {part}: index lesion occupying the {depth} {zonal}.",
    "A {sided} {zone_} nodule, located {ly} {at}, shows early enhancement.",
    "1. PI-RADS 4 lesion, {apic} {side} {depth} {PZ}.",
    "{Zone}: {ventrally} on the {side} {at} a 12 mm area of restricted diffusion.",
    "{lt} {apex} {pz} {ant} 8mm dark on adc, no epe",
    "TARGET #2 - {SIDE} {APEX} {DEPTH} {ZONE}",
    "Focal early enhancement was noted {ly} in the {side} {PZ}, confined to the {third}.",
    "Ill-defined low T2 signal involving {the}, {depth} {zone}, {side} lobe; 16 mm in longest axis.",
    "{PZ}/{L}/{ap}/{ant} - ADC 650, PI-RADS 5",
    "Recommend targeted cores from {the} on the {side} ({zone}, {depth} portion).",
    "Unchanged 7 mm focus in the {depth} half of the {sided} {zonal}, {apex}, since 2021.",
    "Dominant tumour centred on the {apical} {side} {PZ}, where it lies {ly}.",
    "At {the} the {zone} on the {side} contains {an} hypointense lesion of 10 mm.",
    "{Lt}. {ant}. {short}, {apic}; susp. for csPCa",
    "{sequence} score 4/5 in {PZ} {side}, {ventral}, {third}",
    "{Apical} prostate: {side} side: {depth} {PZ}: 1.3 cm wedge-like abnormality.",
    "Mass arising from the {zone}, {depth} compartment, laterality: {side}, craniocaudal level: {apex}.",
    "On the patient's {side}, toward the {front} of the {zone}, a nodule is visible at {the}.",
    "Lesion A (9 mm, {PZ}, {apic}, {depth}, {side}): likely clinically significant.",
    "Yes, suspicious area: {zone} {L}, level {apex}, {ventral} position, approx. 15 mm.",
    "The {depth} aspect of the {apical} portion of the {side} {zonal} is replaced by a homogeneous dark lesion.",
    "Broad capsular contact of the {ventral} {PZ} lesion, {part}, {Lt} side.",
    "We see one equivocal (PI-RADS 3) spot; it sits in the {third}, {sided}, in the {zone}, {ly}.",
    "{PZ} - {side} - {apex} - {depth}. Size 6 mm. Likert 3.",
    "Only {side} {zone} abnormal: single {apic} lesion, {ventrally} situated, volume 0.6 cc.",
    "ROI 1 Zone={PZ} Laterality={Side} Third={apic} AP={Depth} Dmax=13mm",
    "Findings in keeping with tumour of the {third}, {side} {depth} quadrant, {PZ}, T2 stage.",
    "11 x 8 mm diffusion-restricting lesion - {depth} {zonal}, {third} ({L}).",
)
