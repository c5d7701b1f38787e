"""The labels of a dataset.json: which values a label map may have, and where csPCa is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.files import read_json

LESION_LABEL = "csPCa"


@dataclass(frozen=True)
class Target:
    """The class that is evaluated.

    Attributes:
        name: its label.
        values: the values of a label map that count as it.
        channel: its channel in nnU-Net's probabilities (background is channel 0, except with regions).
        regions: whether the probabilities are of overlapping regions (sigmoid) and not of classes (softmax).
    """

    name: str
    values: frozenset[int]
    channel: int
    regions: bool = False


# Without a dataset.json: picai_labels' own masks, where 1 is csPCa and 2 to 5 are ISUP grades.
PICAI_TARGET = Target(LESION_LABEL, frozenset((1, 2, 3, 4, 5)), 1)


def label_values(labels: Mapping[str, Any]) -> frozenset[int]:
    """Every value that a label map may have; regions contribute all of theirs."""
    return frozenset(int(v) for value in labels.values() for v in (value if isinstance(value, list) else [value]))


def target_of(labels: Mapping[str, Any], name: str, where: object) -> Target:
    """The target `name` of a dataset.json's labels.

    Raises:
        DataError: there is no such label.
    """
    if name not in labels:
        raise DataError(
            f"There is no label {name!r}; the labels are {', '.join(map(repr, labels))}.",
            where=where,
            remedy="Choose one with --label.",
        )
    regions = any(isinstance(value, list) and len(value) > 1 for value in labels.values())
    value = labels[name]
    values = frozenset(int(v) for v in (value if isinstance(value, list) else [value]))
    foreground = [label for label in labels if label not in ("background", "ignore")]
    return Target(name, values, foreground.index(name) if regions else min(values), regions)


def find_target(folders: tuple[Path, ...], name: str) -> tuple[Target, Path | None]:
    """The target by the first dataset.json in `folders`; picai_labels' convention where there is none.

    Returns:
        The target, and the dataset.json that was read.

    Raises:
        DataError: the file is damaged, lacks the label, or there is none and `name` is not csPCa.
    """
    for folder in folders:
        path = folder / "dataset.json"
        if path.is_file():
            dataset = read_json(path, error=DataError)
            labels = dataset.get("labels") if isinstance(dataset, dict) else None
            if not isinstance(labels, dict):
                raise DataError("dataset.json has no labels.", where=path)
            return target_of(labels, name, path), path
    if name != LESION_LABEL:
        raise DataError(
            f"No dataset.json says which value the label {name!r} has.",
            where=", ".join(map(str, folders)),
            remedy="Put the data set's dataset.json beside the labels.",
        )
    return PICAI_TARGET, None
