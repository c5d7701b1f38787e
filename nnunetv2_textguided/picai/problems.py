"""What a check of data reports: problems, each an error or a warning."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any


class Severity(Enum):
    """An error spoils training or its evaluation; a warning is for a person to look at."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Problem:
    """One problem: what is wrong, with which case or file, and what to do about it."""

    severity: Severity
    what: str
    where: str
    remedy: str = ""

    def __str__(self) -> str:
        remedy = f"\n  what to do: {self.remedy}" if self.remedy else ""
        return f"{self.severity.value}: {self.what}\n  where: {self.where}{remedy}"

    def as_json(self) -> dict[str, Any]:
        """The problem as JSON values."""
        return {**asdict(self), "severity": self.severity.value}


def error(what: str, where: object, remedy: str = "") -> Problem:
    """A problem of severity ERROR."""
    return Problem(Severity.ERROR, what, str(where), remedy)


def warning(what: str, where: object, remedy: str = "") -> Problem:
    """A problem of severity WARNING."""
    return Problem(Severity.WARNING, what, str(where), remedy)
