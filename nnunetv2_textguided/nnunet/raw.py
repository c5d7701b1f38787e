"""The files of a raw data set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def training_cases(folder: Path, dataset_json: Mapping[str, Any]) -> set[str]:
    """Identifiers of a raw data set's training cases: those that dataset.json lists, else those with a label.

    Names that start with a dot are no cases: macOS writes such companions of files.
    """
    listed = dataset_json.get("dataset")
    if isinstance(listed, Mapping):
        return set(map(str, listed))
    ending = str(dataset_json.get("file_ending", ".nii.gz"))
    paths = (folder / "labelsTr").glob(f"*{ending}")
    return {path.name[: -len(ending)] for path in paths if not path.name.startswith(".")}
