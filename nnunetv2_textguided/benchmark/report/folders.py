"""Where nnU-Net keeps what a report reads."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from nnunetv2_textguided.errors import DataError


@dataclass(frozen=True)
class Folders:
    """nnU-Net's three folders."""

    raw: Path | None
    preprocessed: Path
    results: Path

    @classmethod
    def from_environment(cls) -> Folders:
        """As nnU-Net finds them.

        Raises:
            DataError: a variable is not set.
        """
        found = {name: os.environ.get(f"nnUNet_{name}") for name in ("raw", "preprocessed", "results")}
        for name in ("preprocessed", "results"):
            if not found[name]:
                raise DataError(f"nnUNet_{name} is not set.", where="environment", remedy="Set nnU-Net's three paths.")
        raw = found["raw"]
        return cls(Path(raw) if raw else None, Path(str(found["preprocessed"])), Path(str(found["results"])))

    def dataset_name(self, wanted: str) -> str:
        """The full name DatasetXXX_Name of a number or a name.

        Raises:
            DataError: no or several data sets of this number have been trained or preprocessed.
        """
        if wanted.startswith("Dataset"):
            return wanted
        if not wanted.isdigit():
            raise DataError(f"{wanted!r} is no data set.", where="-d", remedy="Give its number or DatasetXXX_Name.")
        prefix = f"Dataset{int(wanted):03d}_"
        names = {p.name for folder in (self.results, self.preprocessed) for p in folder.glob(f"{prefix}*")}
        if len(names) != 1:
            raise DataError(
                f"{len(names)} data sets have the number {wanted}{': ' + ', '.join(sorted(names)) if names else ''}.",
                where=f"{self.results}, {self.preprocessed}",
                remedy="Give the full name DatasetXXX_Name with -d.",
            )
        return names.pop()
