"""The data set that a text is for: its foreground labels, and where its embeddings lie."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunetv2_textguided.anatomy.labels import anatomy_labels
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.nnunet.folders import PREPROCESSED, required_path
from nnunetv2_textguided.text.resolve import FILE_NAME


def label_names(dataset_json: Mapping[str, Any], where: object = "dataset.json") -> list[str]:
    """Foreground labels in the order of nnU-Net's segmentation heads: by value, or as listed if they are regions.

    Raises:
        DataError: there are none, or the block is no mapping from names to integers or lists of them.
    """
    labels = dataset_json.get("labels")
    remedy = 'nnU-Net v2 expects {"background": 0, "name": 1, ...}.'
    if not isinstance(labels, Mapping):
        raise DataError("The data set's description has no 'labels'.", where=where, remedy=remedy)
    values: dict[str, list[int]] = {}
    for name, value in labels.items():
        parts = value if isinstance(value, list) else [value]
        if not parts or not all(isinstance(part, int) for part in parts):
            raise DataError(f"The label {name!r} has the value {value!r}.", where=where, remedy=remedy)
        if name != "ignore" and set(parts) != {0}:
            values[str(name)] = parts
    if not values:
        raise DataError("The data set has no foreground label.", where=where, remedy=remedy)
    has_regions = any(len(parts) > 1 for parts in values.values())
    return list(values) if has_regions else sorted(values, key=lambda name: values[name][0])


def prompted_names(dataset_json: Mapping[str, Any], where: object = "dataset.json", *, anatomy: bool) -> list[str]:
    """What has prompts of its own: the foreground labels, then, if `anatomy`, the anatomical structures.

    Raises:
        DataError: the description is not valid.
    """
    return [*label_names(dataset_json, where), *(anatomy_labels(dataset_json, where) if anatomy else ())]


def embedding_path(dataset: str) -> Path:
    """Where training looks for a data set's own embedding file (it may not exist).

    Raises:
        DataError: nnUNet_preprocessed is not set.
    """
    folder = required_path(PREPROCESSED, "Set nnU-Net's variables, or write the file elsewhere with -o.")
    return folder / dataset / FILE_NAME
