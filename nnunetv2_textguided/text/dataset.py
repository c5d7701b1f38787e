"""The data set that a text is for: its name, its foreground labels, and where nnU-Net keeps it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunetv2_textguided.anatomy.labels import anatomy_labels
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.files import read_json
from nnunetv2_textguided.text.resolve import FILE_NAME

# The environment variables that nnU-Net reads its folders from.
PREPROCESSED, RAW = "nnUNet_preprocessed", "nnUNet_raw"


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


def find_dataset(name_or_id: str) -> str:
    """The full name (DatasetXXX_Name) of a data set that nnU-Net knows.

    Raises:
        DataError: there is none, or more than one.
    """
    from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name

    try:
        return str(maybe_convert_to_dataset_name(name_or_id))
    except (RuntimeError, ValueError) as e:
        raise DataError(
            str(e).strip(),
            where=f"data set {name_or_id!r}",
            remedy="Check the id, and that nnUNet_raw and nnUNet_preprocessed point to your data.",
        ) from e


def read_dataset_json(dataset: str) -> tuple[Mapping[str, Any], Path]:
    """dataset.json of a data set, from nnUNet_preprocessed (which training reads) or else nnUNet_raw, and its path.

    Raises:
        DataError: neither folder has it.
    """
    for variable in (PREPROCESSED, RAW):
        folder = os.environ.get(variable)
        path = Path(folder or "") / dataset / "dataset.json"
        if folder and path.is_file():
            return read_json(path, error=DataError), path
    raise DataError(
        f"There is no dataset.json of {dataset}.",
        where="nnUNet_preprocessed, nnUNet_raw",
        remedy="Check the name and nnU-Net's folders.",
    )


def embedding_path(dataset: str) -> Path:
    """Where training looks for a data set's own embedding file (it may not exist).

    Raises:
        DataError: nnUNet_preprocessed is not set.
    """
    folder = os.environ.get(PREPROCESSED)
    if not folder:
        raise DataError(
            "nnUNet_preprocessed is not set.",
            remedy="Set it as nnU-Net's documentation says, or write the file elsewhere with -o.",
        )
    return Path(folder) / dataset / FILE_NAME
