"""Which data set an id or a name means: one look-up for all commands."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.files import read_json
from nnunetv2_textguided.nnunet.folders import PREPROCESSED, RAW, VARIABLES, nnunet_path, required_path

_NAME = re.compile(r"Dataset(\d{3,})_[^/\\]+")


def is_dataset_name(word: str) -> bool:
    """Whether it is a name of nnU-Net's form, DatasetXXX_Name."""
    return _NAME.fullmatch(word) is not None


def known_datasets() -> list[str]:
    """The full names of the data sets in those of nnU-Net's folders that are set."""
    folders = filter(None, map(nnunet_path, VARIABLES))
    names = {path.name for folder in folders if folder.is_dir() for path in folder.iterdir() if path.is_dir()}
    return sorted(name for name in names if _NAME.fullmatch(name))


def dataset_name(wanted: str | int, *needed: str, where: str | None = None) -> str:
    """The full name DatasetXXX_Name of a data set.

    An id is a whole number: nnU-Net itself compares beginnings, and would take Dataset2203_X for 220.

    Args:
        wanted: id or full name.
        needed: the variables of those of nnU-Net's folders that the caller reads.
        where: names the option in errors.

    Raises:
        DataError: a variable is not set, or there is no such data set, or several; names those that there are.
    """
    for variable in needed:
        required_path(variable)
    if not any(map(nnunet_path, VARIABLES)):
        required_path(PREPROCESSED)
    _check_there()
    wanted = str(wanted).strip()
    known = known_datasets()
    # int() refuses digits such as a superscript 2, which str.isdigit does not.
    is_id = wanted.isdecimal()
    found = [name for name in known if (_id(name) == int(wanted) if is_id else name == wanted)]
    if len(found) == 1:
        return found[0]
    places = ", ".join(f"{variable}={nnunet_path(variable) or '(not set)'}" for variable in VARIABLES)
    where = f"{where or f'-d {wanted}'}; {places}"
    if found:
        what, remedy = f"Several data sets have the id {wanted}: {', '.join(found)}.", "Give the full name."
    elif is_id:
        what, remedy = f"There is no data set {wanted}.", f"{_there_are(known)} Check the id and nnU-Net's variables."
    else:
        what, remedy = f"There is no data set {wanted!r}.", _for_name(wanted, known)
    raise DataError(what, where=where, remedy=remedy)


def _check_there() -> None:
    """Raise DataError if none of the folders that nnU-Net's variables name is there: not the id is wrong then."""
    named = {variable: path for variable in VARIABLES if (path := nnunet_path(variable)) is not None}
    if not any(path.is_dir() for path in named.values()):
        raise DataError(
            "nnU-Net's folders do not exist.",
            where=", ".join(f"{variable}={path}" for variable, path in named.items()),
            remedy="Check nnU-Net's variables, and whether the disk is mounted.",
        )


def read_description(dataset: str) -> tuple[dict[str, Any], Path]:
    """dataset.json of a data set, from nnUNet_preprocessed (which training reads) or else nnUNet_raw, and its path.

    Raises:
        DataError: neither folder has it.
    """
    for variable in (PREPROCESSED, RAW):
        folder = nnunet_path(variable)
        path = None if folder is None else folder / dataset / "dataset.json"
        if path is not None and path.is_file():
            return read_json(path, error=DataError), path
    raise DataError(
        f"There is no dataset.json of {dataset}.",
        where=f"{PREPROCESSED}, {RAW}",
        remedy="Check the name and nnU-Net's folders.",
    )


def _id(name: str) -> int:
    match = _NAME.fullmatch(name)
    return -1 if match is None else int(match[1])


def _there_are(known: list[str]) -> str:
    shown = ", ".join(known[:10]) + (f" and {len(known) - 10} more" if len(known) > 10 else "")
    return f"There are: {shown}." if known else "nnU-Net's folders hold no data set."


def _for_name(wanted: str, known: list[str]) -> str:
    same = [name for name in known if name.split("_", 1)[1].casefold() == wanted.casefold()]
    near = same or difflib.get_close_matches(wanted, known, 3)
    if near:
        return f"Give the id or the full name: {' or '.join(f'{_id(name)} or {name}' for name in near)}."
    return f"Give the id or the full name DatasetXXX_Name. {_there_are(known)}"
