"""Which series is T2W, ADC and high-b DWI: by what the headers say, with the reason, and never by guessing.

Attributes decide in the order of their reliability: orientation, b-values, ImageType, and the description last.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.inference.dicom.series import Series
from nnunetv2_textguided.inference.missing import MissingRule

HIGH_B = 800.0
"""s/mm2; PI-RADS v2.1 asks for a high b-value of at least 1400, acquired or calculated; older protocols had 800."""
_T2 = re.compile(r"(?<![a-z0-9])t2w?(?![a-z0-9])|t2[ _-]?(w|tse|fse|frfse|blade|propeller|space|ax|tra)", re.IGNORECASE)
_ADC = re.compile(r"adc|apparent", re.IGNORECASE)
_DIFFUSION = re.compile(r"dwi|diff|trace|(?<![a-z])b[ _-]?\d{3,4}|ep2d|hbv|high[ _-]?b", re.IGNORECASE)
_HIGH = re.compile(r"b[ _-]?(?P<b>\d{3,4})", re.IGNORECASE)
_DERIVED = re.compile(r"localiz|localis|scout|survey|mip|mpr|perf|dce|dyn|t1|subtract|ktrans", re.IGNORECASE)


@dataclass(frozen=True)
class Choice:
    """The series of one channel.

    Attributes:
        series: the series.
        reason: why, in words.
        b_value: of a diffusion series, the b-value whose images are meant; None: all images.
    """

    series: Series
    reason: str
    b_value: float | None = None


def choose_series(
    series: Sequence[Series],
    channels: Sequence[str],
    where: Path,
    overrule: Mapping[str, str] | None = None,
    rule: MissingRule | None = None,
) -> dict[str, Choice]:
    """The series of each channel.

    Args:
        series: of one study.
        channels: T2W, ADC and HBV, or some of them.
        where: the study's folder, for errors.
        overrule: channel -> number or UID of the series that the user names.
        rule: whether some may be missing, which are then left out; None: no.

    Raises:
        DataError: a channel fits no series and must not be missing, or it fits several; lists what was found.
    """
    found = {}
    for channel in channels:
        choice = _choose(channel, series, where, (overrule or {}).get(channel), rule or MissingRule())
        if choice is not None:
            found[channel] = choice
    return found


def _choose(channel: str, series: Sequence[Series], where: Path, named: str | None, rule: MissingRule) -> Choice | None:
    rules = {"T2W": _as_t2w, "ADC": _as_adc, "HBV": _as_high_b}
    if named is not None:
        found = [one for one in series if named in (one.number, one.uid)]
        if len(found) != 1:
            raise _error(f"{len(found)} series are called {named!r}", channel, series, where)
        b = max(found[0].b_values, default=None) if channel == "HBV" else None
        return Choice(found[0], "named by --series", b)
    if channel not in rules:
        raise DataError(
            f"No rule says which DICOM series is {channel!r}.",
            where=where,
            remedy=f"Give its folder or file, or its series with --series {channel}=NUMBER.",
        )
    fits = [choice for one in series if (choice := rules[channel](one)) is not None]
    if channel == "HBV" and len(fits) > 1:
        # The highest b-value is meant: PI-RADS reads the highest.
        highest = max(choice.b_value or 0 for choice in fits)
        fits = [choice for choice in fits if (choice.b_value or 0) == highest]
    if not fits and rule.allowed:
        return None
    if not fits:
        raise _error("no series fits", channel, series, where, more=f" {rule.reason}")
    if len(fits) > 1:
        raise _error(f"{len(fits)} series fit", channel, series, where, [choice.series for choice in fits])
    return fits[0]


def _error(
    what: str, channel: str, series: Sequence[Series], where: Path, fits: Sequence[Series] = (), more: str = ""
) -> DataError:
    lines = [f"  {'*' if one in fits else ' '} {one}" for one in series]
    return DataError(
        f"{channel}: {what}. Found:\n" + "\n".join(lines),
        where=where,
        remedy=f"Name it: --series {channel}=NUMBER (or its SeriesInstanceUID).{more}",
    )


def _as_t2w(one: Series) -> Choice | None:
    words = one.description
    if one.orientation != "axial" or any(one.b_values) or _is_adc(one) or _DERIVED.search(words):
        return None
    if _DIFFUSION.search(words) or not _T2.search(words):
        return None
    return Choice(one, f"axial, no b-value, described as {words!r}")


def _is_adc(one: Series) -> bool:
    return "ADC" in (part.upper() for part in one.image_type) or bool(_ADC.search(one.description))


def _as_adc(one: Series) -> Choice | None:
    if one.orientation != "axial" or not _is_adc(one) or _DERIVED.search(one.description):
        return None
    by_type = "ADC" in (part.upper() for part in one.image_type)
    return Choice(one, "axial, ImageType says ADC" if by_type else f"axial, described as {one.description!r}")


def _as_high_b(one: Series) -> Choice | None:
    if one.orientation != "axial" or _is_adc(one) or _DERIVED.search(one.description):
        return None
    b = max(one.b_values, default=0.0)
    if b >= HIGH_B:
        return Choice(one, f"axial, b = {b:g} s/mm2", b)
    told = [float(found["b"]) for found in _HIGH.finditer(one.description)]
    if not one.b_values and max(told, default=0.0) >= HIGH_B:
        return Choice(one, f"axial, described as {one.description!r}")
    return None
