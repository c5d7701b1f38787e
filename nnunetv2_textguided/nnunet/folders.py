"""nnU-Net's three folders, as nnU-Net itself finds them, and how it names what lies in them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nnunetv2_textguided.errors import DataError

RAW, PREPROCESSED, RESULTS = "nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"
"""The environment variables that nnU-Net reads its folders from."""
VARIABLES = (RAW, PREPROCESSED, RESULTS)
REFERENCES = "gt_segmentations"
"""Folder of a preprocessed data set with copies of its label maps, which validations are compared with."""


def nnunet_path(variable: str) -> Path | None:
    """The folder that nnU-Net's variable names; None where it is not set."""
    folder = os.environ.get(variable)
    return Path(folder) if folder else None


def folder_in(variable: str, name: object) -> Path | None:
    """The folder of that name in the one that nnU-Net's variable names; None where either is not known."""
    folder = nnunet_path(variable)
    return folder / name if folder is not None and isinstance(name, str) else None


def required_path(variable: str, remedy: str = "Set nnU-Net's three variables.") -> Path:
    """The folder that nnU-Net's variable names.

    Raises:
        DataError: the variable is not set.
    """
    folder = nnunet_path(variable)
    if folder is None:
        raise DataError(f"The environment variable {variable} is not set.", where="environment", remedy=remedy)
    return folder


@contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables of this process, and put the old ones back."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


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
        return cls(nnunet_path(RAW), required_path(PREPROCESSED), required_path(RESULTS))


def model_name(trainer: str, plans: str, configuration: str) -> str:
    """nnU-Net's name of a model folder (nnunetv2/utilities/file_path_utilities.py)."""
    return f"{trainer}__{plans}__{configuration}"
