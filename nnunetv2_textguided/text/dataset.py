"""The data set that a text is for: its foreground labels, its case text, and where its embeddings lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunetv2_textguided.anatomy.labels import anatomy_labels
from nnunetv2_textguided.anatomy.sectors import ZONES
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.files import read_json, visible
from nnunetv2_textguided.nnunet.folders import PREPROCESSED, RAW, nnunet_path, required_path
from nnunetv2_textguided.nnunet.labels import read_labels
from nnunetv2_textguided.nnunet.raw import training_cases
from nnunetv2_textguided.text.case_text import CaseText, find_case_text, read_case_text
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


def has_zones(dataset_json: Mapping[str, Any], where: object = "dataset.json") -> bool:
    """Whether the data set's anatomy has the zones from which location phrases are learned.

    Raises:
        DataError: the description is not valid.
    """
    return set(ZONES) <= set(anatomy_labels(dataset_json, where))


def dataset_case_text(dataset: str) -> tuple[dict[str, CaseText], Path] | None:
    """A data set's case text and its path: beside dataset.json in nnUNet_raw, or else in nnUNet_preprocessed.

    Returns:
        None where there is none.

    Raises:
        DataError: the file is not valid, or names a case that the data set does not have.
    """
    folders = [folder / dataset for variable in (RAW, PREPROCESSED) if (folder := nnunet_path(variable)) is not None]
    path = next(filter(None, map(find_case_text, folders)), None)
    return None if path is None else (read_case_text(path, _cases(folders) or None), path)


def _cases(folders: Sequence[Path]) -> set[str]:
    """Identifiers of a data set's cases, of training and test, as far as its folders are here."""
    cases: set[str] = set()
    for folder in folders:
        description = read_json(folder / "dataset.json", error=DataError) if (folder / "dataset.json").is_file() else {}
        cases |= training_cases(folder, description)
        ending = f"_0000{description.get('file_ending', '.nii.gz')}"
        cases |= {path.name.removesuffix(ending) for path in visible(folder / "imagesTs", f"*{ending}")}
        cases |= {path.stem for path in visible(folder, "*/*.pkl")}
    return cases
