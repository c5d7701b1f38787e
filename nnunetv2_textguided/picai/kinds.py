"""What the cases of a data set teach from: an outline or text alone, with lesions or without."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

ANNOTATED = ("annotated with lesion", "annotated without lesion")
TEXT_ONLY = ("text only with lesion", "text only without lesion")
NEITHER = "with neither outline nor count"
KINDS = (*ANNOTATED, *TEXT_ONLY, NEITHER)


def kind_of(outlined: bool, lesions: bool | None) -> str:
    """Of KINDS, the one of a case; `lesions`: whether it has any, None: not known."""
    return NEITHER if lesions is None else (ANNOTATED if outlined else TEXT_ONLY)[not lesions]


def describe(kinds: Iterable[str]) -> str:
    """How many cases there are of each kind."""
    counts = Counter(kinds)
    return ", ".join(f"{counts[kind]} {kind}" for kind in KINDS if counts[kind]) or "no case"
