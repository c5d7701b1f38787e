"""The data set that a text is for: its foreground labels, and where its embeddings lie."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunetv2_textguided.anatomy.labels import anatomy_labels
from nnunetv2_textguided.nnunet.folders import PREPROCESSED, required_path
from nnunetv2_textguided.nnunet.labels import read_labels
from nnunetv2_textguided.text.resolve import FILE_NAME


def prompted_names(dataset_json: Mapping[str, Any], where: object = "dataset.json", *, anatomy: bool) -> list[str]:
    """What has prompts of its own: the foreground labels, then, if `anatomy`, the anatomical structures.

    Raises:
        DataError: the description is not valid.
    """
    return [*read_labels(dataset_json, where).foreground, *(anatomy_labels(dataset_json, where) if anatomy else ())]


def embedding_path(dataset: str) -> Path:
    """Where training looks for a data set's own embedding file (it may not exist).

    Raises:
        DataError: nnUNet_preprocessed is not set.
    """
    folder = required_path(PREPROCESSED, "Set nnU-Net's variables, or write the file elsewhere with -o.")
    return folder / dataset / FILE_NAME
