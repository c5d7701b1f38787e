"""What a check can find: one finding per problem, an error or a warning."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any


class Severity(Enum):
    """An error spoils training or its evaluation; a warning is for a person to look at."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Finding:
    """One problem: what is wrong, with which case or file, and what to do about it."""

    severity: Severity
    what: str
    where: str
    remedy: str = ""

    def __str__(self) -> str:
        remedy = f"\n  what to do: {self.remedy}" if self.remedy else ""
        return f"{self.severity.value}: {self.what}\n  where: {self.where}{remedy}"

    def as_json(self) -> dict[str, Any]:
        """The finding as JSON values."""
        return {**asdict(self), "severity": self.severity.value}


def error(what: str, where: object, remedy: str = "") -> Finding:
    """A finding of severity ERROR."""
    return Finding(Severity.ERROR, what, str(where), remedy)


def warning(what: str, where: object, remedy: str = "") -> Finding:
    """A finding of severity WARNING."""
    return Finding(Severity.WARNING, what, str(where), remedy)
