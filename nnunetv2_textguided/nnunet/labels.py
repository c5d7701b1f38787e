"""The labels of a dataset.json: which values a label map may have, and where csPCa is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.files import read_json

LESION_LABEL = "csPCa"
BACKGROUND, IGNORE = "background", "ignore"
_FORM = 'nnU-Net v2 expects {"background": 0, "name": 1, ...}.'


@dataclass(frozen=True)
class Target:
    """The class that is evaluated.

    Attributes:
        name: its label.
        values: the values of a label map that count as it.
        channel: its channel in nnU-Net's probabilities (background is channel 0, except with regions).
        regions: whether the probabilities are of overlapping regions (sigmoid) and not of classes (softmax).
        known: every value that a label map of the data set may have; None: that is not known.
        ignored: nnU-Net's ignore label, whose voxels count for nothing; None: there is none.
    """

    name: str
    values: frozenset[int]
    channel: int
    regions: bool = False
    known: frozenset[int] | None = None
    ignored: int | None = None


# Without a dataset.json: picai_labels' own masks, where 1 is csPCa and 2 to 5 are ISUP grades.
PICAI_TARGET = Target(LESION_LABEL, frozenset((1, 2, 3, 4, 5)), 1, known=frozenset(range(6)))


@dataclass(frozen=True)
class Labels:
    """The labels of a dataset.json.

    Attributes:
        foreground: labels or regions in the order of nnU-Net's segmentation heads: by value, regions as listed.
        values: name -> the values of a label map that it is made of; with background and ignore.
        regions: whether a label is made of several values.
    """

    foreground: tuple[str, ...]
    values: Mapping[str, tuple[int, ...]]
    regions: bool

    @property
    def ignored(self) -> int | None:
        """The value of nnU-Net's ignore label; None: there is none."""
        return self.values[IGNORE][0] if IGNORE in self.values else None

    @property
    def map_values(self) -> frozenset[int]:
        """Every value that a label map may have."""
        return frozenset(value for values in self.values.values() for value in values)


def read_labels(dataset_json: Mapping[str, Any], where: object = "dataset.json") -> Labels:
    """The labels of a data set's description.

    Raises:
        DataError: there are none, or the block is no mapping from names to integers or lists of them.
    """
    labels = dataset_json.get("labels")
    if not isinstance(labels, Mapping):
        raise DataError("The data set's description has no 'labels'.", where=where, remedy=_FORM)
    if labels and all(str(name).isdecimal() and isinstance(value, str) for name, value in labels.items()):
        turned = ", ".join(f'"{value}": {int(name)}' for name, value in labels.items())
        raise DataError(
            "The labels are written value to name, as nnU-Net v1 had them.",
            where=f"{where}: labels",
            remedy=f"{_FORM} Here: {{{turned}}}.",
        )
    values: dict[str, tuple[int, ...]] = {}
    for name, value in labels.items():
        parts = value if isinstance(value, (list, tuple)) else [value]
        if not parts or not all(isinstance(part, int) and not isinstance(part, bool) for part in parts):
            raise DataError(f"The label {name!r} has the value {value!r}.", where=f"{where}: labels", remedy=_FORM)
        values[str(name)] = tuple(parts)
    foreground = {name: parts for name, parts in values.items() if name != IGNORE and set(parts) != {0}}
    if not foreground:
        raise DataError("The data set has no foreground label.", where=f"{where}: labels", remedy=_FORM)
    regions = any(len(parts) > 1 for parts in foreground.values())
    names = list(foreground) if regions else sorted(foreground, key=lambda name: foreground[name][0])
    return Labels(tuple(names), values, regions)


def trainable_labels(dataset_json: Mapping[str, Any], where: object = "dataset.json") -> Labels:
    """The labels of a data set's description, if a network can be trained on them.

    Raises:
        DataError: as `read_labels`; or the background is not 0, two labels share a value, or values are left out (a
            network has one output for each value from 0 on, and a training on 0, 1 and 3 dies in its first step).
    """
    labels = read_labels(dataset_json, where)
    where = f"{where}: labels"
    if labels.values.get(BACKGROUND) != (0,):
        raise DataError("There is no label 'background' of value 0.", where=where, remedy=_FORM)
    classes = [value for name, values in labels.values.items() if name != IGNORE for value in values]
    found = ", ".join(map(str, sorted(classes)))
    if not labels.regions and sorted(classes) != list(range(len(classes))):
        raise DataError(
            f"Label values must be 0, 1, 2, ... without gaps and each used once; found {found}.",
            where=where,
            remedy="Renumber the labels, in dataset.json and in the label maps (labelsTr), and preprocess again.",
        )
    if min(classes) < 0:
        raise DataError(f"Label values must not be negative; found {found}.", where=where, remedy=_FORM)
    ignored = labels.values.get(IGNORE)
    if ignored is not None and ignored != (max(classes) + 1,):
        raise DataError(
            f"The label 'ignore' must have the value after the highest, {max(classes) + 1}; it has "
            f"{', '.join(map(str, ignored))}.",
            where=where,
            remedy="Renumber it, in dataset.json and in the label maps (labelsTr), and preprocess again.",
        )
    return labels


def label_values(labels: Mapping[str, Any], where: object = "dataset.json") -> frozenset[int]:
    """Every value that a label map may have; regions contribute all of theirs.

    Raises:
        DataError: as `read_labels`.
    """
    return read_labels({"labels": labels}, where).map_values


def file_names(labels: Sequence[str]) -> dict[str, str]:
    """Label -> its part of a path: letters, digits, dot, dash and underscore of any script; the rest becomes "_".

    Labels that would share a file, on a disk that tells upper from lower case or not, are told apart by a number.
    """
    plain = {label: re.sub(r"[^\w.-]", "_", label).lstrip(".") or "_" for label in labels}
    names: dict[str, str] = {}
    taken: set[str] = set()
    # A label that is its own file name keeps it; numbered names stay clear of all others.
    for label in sorted(labels, key=lambda label: plain[label] != label):
        name, number, others = plain[label], 2, taken
        while name.casefold() in others:
            name, number = f"{plain[label]}_{number}", number + 1
            others = taken | {other.casefold() for other in plain.values()}
        names[label] = name
        taken.add(name.casefold())
    return {label: names[label] for label in labels}


def target_of(labels: Mapping[str, Any], name: str, where: object) -> Target:
    """The target `name` of a dataset.json's labels.

    Raises:
        DataError: there is no such label, or the labels are not valid.
    """
    if name not in labels:
        raise DataError(
            f"There is no label {name!r}; the labels are {', '.join(map(repr, labels))}.",
            where=where,
            remedy="Choose one with --label.",
        )
    described = read_labels({"labels": labels}, where)
    values = frozenset(described.values[name])
    channel = described.foreground.index(name) if described.regions else min(values)
    return Target(name, values, channel, described.regions, described.map_values | {0}, described.ignored)


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
