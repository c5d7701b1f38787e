"""Checking the anatomy of a raw data set: label maps beside the labels, of what text names but nothing segments."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunetv2_textguided.anatomy.labels import RAW_FOLDER, anatomy_labels
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.picai.problems import Problem, error

_AGAIN = "Run `nnUNetv2_textguided picai prepare` again."


def anatomy_values(dataset: Mapping[str, Any]) -> frozenset[int]:
    """Every value that an anatomy file may have, 0 included.

    Args:
        dataset: the content of dataset.json.

    Returns:
        The values; none where the data set has no anatomy, or where `check_anatomy` finds fault with its names.
    """
    try:
        values = anatomy_labels(dataset).values()
    except DataError:
        return frozenset()
    return frozenset((0, *values)) if values else frozenset()


def check_anatomy(folder: Path, dataset: Mapping[str, Any], labels: set[str], present: set[str]) -> list[Problem]:
    """Findings about the names in dataset.json and about which cases have an anatomy file.

    Args:
        folder: the raw data set.
        dataset: the content of its dataset.json.
        labels: the cases with a label.
        present: the cases with an anatomy file.
    """
    try:
        if not anatomy_labels(dataset):
            return []
    except DataError as e:
        return [error(e.what, folder / "dataset.json", e.remedy or "")]
    where = {case: folder / RAW_FOLDER / f"{case}{dataset['file_ending']}" for case in labels | present}
    found = [error("The anatomy of the case is missing.", where[case], _AGAIN) for case in sorted(labels - present)]
    remedy = "Remove the file, or run `nnUNetv2_textguided picai prepare` for its case."
    return found + [error("The anatomy belongs to no label.", where[case], remedy) for case in sorted(present - labels)]
