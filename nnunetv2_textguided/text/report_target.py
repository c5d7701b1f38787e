"""What a report counts in a patient whose lesions nobody outlined: a target to learn from, never an input.

The key "target" of a case in case_text.json:

    {"CASE": {"target": {"lesions": 1, "findings": [{"zone": "PZ", "side": "left", "level": "mid-gland",
                                                    "depth": "posterior", "diameter_mm": 14}]}}}

`lesions` is how many there are (0: none for certain); each finding says where one of them is, as far as it is known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nnunetv2_textguided.anatomy.sectors import DEPTHS, LEVELS, SIDES, ZONES, Sector
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.text.keys import check_keys

MAX_LESIONS = 64
SMALLEST_MM, LARGEST_MM = 3.0, 150.0
"""A diameter outside of these is in another unit: no report measures a lesion of 2 mm, and no prostate holds more."""
FILLED = 0.25
"""Share of the ball of its largest diameter that a lesion fills: the median over outlines of the public archive
(one fold's training cases of the study in docs/evidence.md), where four of five fill 0.14 to 0.40 of it."""

ANYWHERE = Sector()
_WORDS: dict[str, dict[str, str]] = {
    "zone": {"PZ": ZONES[0], "TZ": ZONES[1], **{zone: zone for zone in ZONES}},
    "side": {side: side for side in SIDES},
    "level": {level: level for level in LEVELS},
    "depth": {depth: depth for depth in DEPTHS},
}


@dataclass(frozen=True)
class ReportedLesion:
    """One lesion of a report.

    Attributes:
        sector: where it is; all None: somewhere.
        diameter_mm: largest diameter, mm; None: not said.
    """

    sector: Sector = ANYWHERE
    diameter_mm: float | None = None

    @property
    def located(self) -> bool:
        """Whether anything is said of its place."""
        return self.words_of_place > 0

    @property
    def words_of_place(self) -> int:
        """How many words say where it is: the more, the fewer places it can be."""
        return sum(word is not None for word in self.sector)

    def to_json(self) -> dict[str, Any]:
        """The entry in "findings"."""
        said = {**self.sector._asdict(), "diameter_mm": self.diameter_mm}
        return {key: value for key, value in said.items() if value is not None}


@dataclass(frozen=True)
class ReportTarget:
    """What a report counts.

    Attributes:
        lesions: how many.
        findings: what is known of some or all of them.
    """

    lesions: int
    findings: tuple[ReportedLesion, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The value of "target"."""
        findings = [finding.to_json() for finding in self.findings]
        return {"lesions": self.lesions, **({"findings": findings} if findings else {})}


def parse_target(entry: Any, where: str) -> ReportTarget:
    """The value of "target" of one case.

    Raises:
        DataError: it is not valid: an unknown key or word, more findings than lesions, a diameter in another unit.
    """
    where = f"{where}, target"
    if not isinstance(entry, Mapping):
        raise DataError(f"The target is {entry!r}.", where=where, remedy='Write {"lesions": 1, "findings": [...]}.')
    check_keys(entry, ("lesions", "findings"), where)
    findings = entry.get("findings", [])
    if not isinstance(findings, list):
        raise DataError("'findings' is no list.", where=where, remedy='Write [{"zone": "PZ", "side": "left"}].')
    lesions = entry.get("lesions", len(findings) or None)
    if isinstance(lesions, bool) or not isinstance(lesions, int) or not 0 <= lesions <= MAX_LESIONS:
        raise DataError(
            f"'lesions' is {lesions!r}.", where=where, remedy=f"Give how many there are, 0 (none) to {MAX_LESIONS}."
        )
    if len(findings) > lesions:
        raise DataError(
            f"{len(findings)} findings describe {lesions} lesions.",
            where=where,
            remedy="Describe each lesion once, or raise 'lesions'.",
        )
    return ReportTarget(lesions, tuple(_lesion(one, f"{where}, finding {i}") for i, one in enumerate(findings, 1)))


def _lesion(entry: Any, where: str) -> ReportedLesion:
    if not isinstance(entry, Mapping):
        raise DataError(f"The finding is {entry!r}.", where=where, remedy='Write {"zone": "PZ", "side": "left"}.')
    check_keys(entry, (*_WORDS, "diameter_mm"), where)
    place = {key: _word(key, entry[key], where) for key in _WORDS if entry.get(key) is not None}
    return ReportedLesion(Sector(**place), _diameter(entry.get("diameter_mm"), where))


def _word(key: str, value: Any, where: str) -> str:
    words = _WORDS[key]
    if not isinstance(value, str) or value not in words:
        raise DataError(f"'{key}' is {value!r}.", where=where, remedy=f"Write {' or '.join(words)}, or leave it out.")
    return words[value]


def _diameter(value: Any, where: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"'diameter_mm' is {value!r}, not a number.", where=where, remedy="Give it in mm.")
    if not SMALLEST_MM <= value <= LARGEST_MM:
        raise DataError(
            f"'diameter_mm' is {value:g}; lesions that are reported have {SMALLEST_MM:g} to {LARGEST_MM:g}.",
            where=where,
            remedy="Give it in mm (1 cm is 10 mm), or leave it out.",
        )
    return float(value)
