"""The keys of an entry that a user wrote: one check for every part of case text."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from nnunetv2_textguided.errors import DataError


def check_keys(entry: Iterable[str], known: tuple[str, ...], where: str) -> None:
    """Raise DataError for a key that is not among the known ones; suggests the nearest."""
    for key in entry:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.3)
            raise DataError(
                f"Unknown key {key!r}.",
                where=where,
                remedy=(f"Did you mean {near[0]!r}? " if near else "") + f"Known are {', '.join(known)}.",
            )
