"""What a check of the installation finds, and how it says so."""

from __future__ import annotations

import traceback
from dataclasses import dataclass


@dataclass(frozen=True)
class CheckResult:
    """The outcome of one check.

    Attributes:
        ok: whether what was checked works.
        message: what was found, in plain words.
        remedy: what to do about it; empty if there is nothing to do.
        details: the traceback, if there is one.
        pending: nothing is broken: the user has yet to choose something.
    """

    ok: bool
    message: str
    remedy: str = ""
    details: str = ""
    pending: bool = False


def works(message: str) -> CheckResult:
    """Everything is fine."""
    return CheckResult(True, message)


def waits(message: str, remedy: str) -> CheckResult:
    """Nothing is wrong, but something has yet to be set up."""
    return CheckResult(False, message, remedy, pending=True)


def fails(message: str, remedy: str, error: BaseException | None = None) -> CheckResult:
    """Something is wrong; with the real traceback of `error`."""
    details = "" if error is None else "".join(traceback.format_exception(error))
    return CheckResult(False, message, remedy, details)
