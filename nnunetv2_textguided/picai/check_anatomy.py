"""Checking the anatomy of a raw data set: label maps beside the labels, of what text names but nothing segments."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunetv2_textguided.picai.findings import Finding, error

FOLDER = "anatomyTr"
_AGAIN = "Run `nnUNetv2_textguided picai prepare` again."


def anatomy_values(dataset: Mapping[str, Any]) -> frozenset[int]:
    """Every value that an anatomy file may have, 0 included.

    Args:
        dataset: the content of dataset.json.

    Returns:
        The values; none where the data set has no anatomy, or where `check_anatomy` finds fault with its names.
    """
    names = dataset.get("anatomy", {})
    return frozenset((0, *names.values())) if names and _fault(names) is None else frozenset()


def check_anatomy(folder: Path, dataset: Mapping[str, Any], labels: set[str], present: set[str]) -> list[Finding]:
    """Findings about the names in dataset.json and about which cases have an anatomy file.

    Args:
        folder: the raw data set.
        dataset: the content of its dataset.json.
        labels: the cases with a label.
        present: the cases with an anatomy file.
    """
    names = dataset.get("anatomy", {})
    fault = _fault(names)
    if fault is not None:
        remedy = 'Write names with values, as in "anatomy": {"peripheral zone": 1, "transition zone": 2}.'
        return [error(f"dataset.json's anatomy {fault}.", folder / "dataset.json", remedy)]
    if not names:
        return []
    where = {case: folder / FOLDER / f"{case}{dataset['file_ending']}" for case in labels | present}
    found = [error("The anatomy of the case is missing.", where[case], _AGAIN) for case in sorted(labels - present)]
    remedy = "Remove the file, or run `nnUNetv2_textguided picai prepare` for its case."
    return found + [error("The anatomy belongs to no label.", where[case], remedy) for case in sorted(present - labels)]


def _fault(names: Any) -> str | None:
    """What is wrong with dataset.json's anatomy; None where nothing is."""
    if not isinstance(names, dict):
        return "is not an object of names and values"
    for name, value in names.items():
        # JSON's true is a Python int; 0 is what is none of the structures.
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            return f"gives {name!r} the value {value!r}, which is no whole number above 0"
    if len(set(names.values())) != len(names):
        return "gives two names the same value"
    return None
