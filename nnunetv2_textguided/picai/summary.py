"""What came of a preparation, as data and in words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nnunetv2_textguided.errors import TextGuidedError


@dataclass
class Summary:
    """What came of a run. Keys are cases, or file names where a file belongs to no case.

    Attributes:
        prepared: cases written by this run.
        up_to_date: cases written by an earlier run whose inputs and options are unchanged.
        kept: cases written by an earlier run that this run's image folder does not hold.
        skipped: case -> why a rule or an option left it out.
        failed: case or file -> what is wrong.
        absent: number of cases of the official folds that the image folder does not hold.
        remarks: case -> what a person should know about it.
        warnings: about the data set as a whole.
        fold_sizes: (training, validation) cases of each fold.
        seconds: of each prepared case, in its worker.
    """

    prepared: list[str] = field(default_factory=list)
    up_to_date: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, TextGuidedError] = field(default_factory=dict)
    absent: int = 0
    remarks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    fold_sizes: list[tuple[int, int]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def succeeded(self) -> bool:
        """Whether no case failed and the data set holds any."""
        return not self.failed and bool(self.prepared or self.up_to_date or self.kept)

    def lines(self) -> Iterator[str]:
        """The summary for a person; failures come last, in full."""
        by_reason: dict[str, list[str]] = defaultdict(list)
        for case, reason in sorted(self.skipped.items()):
            by_reason[reason].append(case)
        for reason, cases in by_reason.items():
            yield f"skipped {len(cases)}: {reason}: {_some(cases)}"
        for case, remarks in sorted(self.remarks.items()):
            yield f"note {case}: {'; '.join(remarks)}"
        yield from (f"warning: {text}" for text in self.warnings)
        for case, error in sorted(self.failed.items()):
            yield f"FAILED {case}: {error}"
        if self.fold_sizes:
            yield "folds (training/validation): " + ", ".join(f"{a}/{b}" for a, b in self.fold_sizes)
        if self.seconds:
            yield f"seconds per case: median {np.median(self.seconds):.1f}, longest {max(self.seconds):.1f}"
        counts = {
            "prepared": len(self.prepared),
            "up to date": len(self.up_to_date),
            "kept from earlier runs": len(self.kept),
            "skipped": len(self.skipped),
            "failed": len(self.failed),
            "of the official folds not in the image folder": self.absent,
        }
        if not (self.prepared or self.up_to_date or self.kept):
            yield "no case could be prepared: there is no data set"
        yield "; ".join(f"{n} {what}" for what, n in counts.items() if n or what in ("prepared", "failed"))

    def as_json(self) -> dict[str, Any]:
        """The summary as JSON values."""
        return {
            "prepared": self.prepared,
            "up_to_date": self.up_to_date,
            "kept": self.kept,
            "skipped": self.skipped,
            "failed": {case: _error(error) for case, error in self.failed.items()},
            "absent": self.absent,
            "remarks": {case: list(r) for case, r in self.remarks.items()},
            "warnings": self.warnings,
            "fold_sizes": [list(sizes) for sizes in self.fold_sizes],
        }


def _error(error: TextGuidedError) -> dict[str, str | None]:
    where = None if error.where is None else str(error.where)
    return {"what": error.what, "where": where, "remedy": error.remedy}


def _some(cases: list[str], most: int = 10) -> str:
    return ", ".join(cases[:most]) + (f" and {len(cases) - most} more" if len(cases) > most else "")
