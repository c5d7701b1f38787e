"""The cases of an nnU-Net image folder: complete ones, and what is wrong with each of the others."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.files import visible
from nnunetv2_textguided.inference.cases import Case


@dataclass(frozen=True)
class Cohort:
    """Cases to predict.

    Attributes:
        cases: those that have all channels, in nnU-Net's order.
        failed: what is wrong with each of the others.
    """

    cases: list[Case]
    failed: dict[str, str]

    @property
    def names(self) -> list[str]:
        """All cases, in order."""
        return sorted([*(case.name for case in self.cases), *self.failed])

    def part(self, part: int, parts: int) -> Cohort:
        """Every `parts`-th case, as nnU-Net's part ids divide them."""
        names = set(self.names[part::parts])
        return Cohort(
            [case for case in self.cases if case.name in names],
            {name: error for name, error in self.failed.items() if name in names},
        )

    def without(self, check: Callable[[Case], object]) -> Cohort:
        """The cohort in which the cases that `check` raises DataError for have failed."""
        cases, failed = [], dict(self.failed)
        for case in self.cases:
            try:
                check(case)
            except DataError as error:
                failed[case.name] = str(error)
            else:
                cases.append(case)
        return Cohort(cases, failed)


def find_cases(folder: Path, ending: str, channels: Sequence[str]) -> Cohort:
    """The cases of an nnU-Net image folder (CASE_0000.nii.gz, CASE_0001.nii.gz, ...).

    Names that start with a dot are no cases: macOS leaves "._CASE_0000.nii.gz" beside images on foreign disks.

    Args:
        folder: the folder.
        ending: the model's file ending.
        channels: what each file of a case holds, in order.

    Raises:
        DataError: there is no case at all.
    """
    if not folder.is_dir():
        said = "is a file" if folder.is_file() else "does not exist"
        raise DataError(f"The input folder {said}.", where=folder, remedy="-i names the folder that holds the images.")
    pattern = re.compile(rf"(?P<case>[^.].*)_\d{{4}}{re.escape(ending)}")
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if match := pattern.fullmatch(path.name):
            found.setdefault(match["case"], []).append(path)
    if not found:
        others = ", ".join(path.name for path in visible(folder)[:3])
        raise DataError(
            f"The input folder holds no image CASE_0000{ending}{f', but {others}' if others else ''}.",
            where=folder,
            remedy="nnU-Net tells channels by _0000, _0001, ... and the model expects this file ending.",
        )
    cases, failed = [], {}
    for name, files in sorted(found.items()):
        expected = {f"{name}_{number:04d}{ending}": channel for number, channel in enumerate(channels)}
        if [file.name for file in files] == list(expected):
            cases.append(Case(name, tuple(files)))
        else:
            failed[name] = str(_incomplete(folder, expected, {file.name for file in files}))
    return Cohort(cases, failed)


def _incomplete(folder: Path, expected: dict[str, str], there: set[str]) -> DataError:
    missing = [f"{file} ({channel})" for file, channel in expected.items() if file not in there]
    extra = sorted(there - set(expected))
    parts = [f"{', '.join(missing)} missing" if missing else "", f"{', '.join(extra)} too many" if extra else ""]
    return DataError(
        f"The model has {len(expected)} channels: {' and '.join(filter(None, parts))}.",
        where=folder,
        remedy="Add or remove files; channels are numbered in the order of the model's dataset.json.",
    )
