"""The anatomy of a data set, as its dataset.json describes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunetv2_textguided.errors import DataError

KEY = "anatomy"
"""Key of dataset.json: name -> value in the maps of RAW_FOLDER. nnU-Net does not read it."""
RAW_FOLDER = "anatomyTr"
"""Beside labelsTr: one label map per training case, on the grid of its label."""
_EXPECTED = '"anatomy" maps names to different values from 1 to 255, as in {"peripheral zone": 1}.'


def anatomy_labels(dataset_json: Mapping[str, Any], where: object = "dataset.json") -> dict[str, int]:
    """Anatomical structures and their values, by value; empty if the data set has none.

    Raises:
        DataError: the key is no such mapping, or names a label that is segmented.
    """
    if KEY not in dataset_json:
        return {}
    anatomy = dataset_json[KEY]
    if not isinstance(anatomy, Mapping) or not anatomy:
        raise DataError(f"{KEY!r} is {anatomy!r}.", where=where, remedy=_EXPECTED)
    labels = dataset_json.get("labels", {})
    for name, value in anatomy.items():
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 255:
            raise DataError(
                f"The anatomical structure {name!r} has the value {value!r}.", where=where, remedy=_EXPECTED
            )
        if name in labels:
            raise DataError(
                f"{name!r} is both a label and anatomy.",
                where=where,
                remedy="Keep it under 'labels' if it is segmented.",
            )
    if len(set(anatomy.values())) < len(anatomy):
        raise DataError(f"Anatomical structures share a value: {dict(anatomy)}.", where=where, remedy=_EXPECTED)
    return dict(sorted(anatomy.items(), key=lambda item: item[1]))


def anatomy_folder(preprocessed: str | Path) -> Path:
    """Where the anatomy of a folder of preprocessed cases lies (nnUNet_preprocessed/DatasetXXX/<data identifier>)."""
    preprocessed = Path(preprocessed)
    return preprocessed.with_name(f"{preprocessed.name}_anatomy")
