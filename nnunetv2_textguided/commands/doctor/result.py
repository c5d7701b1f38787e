"""What a check of the installation finds, and how it says so."""

from __future__ import annotations

import traceback
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Attributes:
        ok: whether what was checked works.
        message: what was found, in plain words.
        remedy: what to do about it; empty if there is nothing to do.
        details: the traceback, if there is one.
    """

    ok: bool
    message: str
    remedy: str = ""
    details: str = ""


def works(message: str) -> Finding:
    """Everything is fine."""
    return Finding(True, message)


def fails(message: str, remedy: str, error: BaseException | None = None) -> Finding:
    """Something is wrong; with the real traceback of `error`."""
    details = "" if error is None else "".join(traceback.format_exception(error))
    return Finding(False, message, remedy, details)
