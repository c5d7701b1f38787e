"""Tables that users write or download: CSV in UTF-8 with commas, and the columns that are needed."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunetv2_textguided.errors import DataError

SEPARATORS = {";": "semicolons", "\t": "tabs"}
"""What spreadsheets of some languages put between cells."""


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        where: file and line, for errors.
        cells: column -> text without spaces around it; empty where the row ends before it.
    """

    where: str
    cells: dict[str, str]


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        columns: their names, in order.
        rows: in order.
    """

    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def read_table(path: Path, required: Sequence[str] = (), *, name: str = "table", remedy: str = "") -> Table:
    """Read a table of a user.

    Args:
        path: the file.
        required: columns that it must have.
        name: what it is called in errors.
        remedy: what to do where it cannot be read or lacks a column.

    Raises:
        DataError: it cannot be read, has other separators than commas, lacks a column or has one twice, or a row has
            more cells than there are columns.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            columns = tuple(reader.fieldnames or ())
            _check_columns(columns, required, path, name, remedy)
            rows = tuple(_row(f"{path}, line {reader.line_num}", cells) for cells in reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        advice = remedy or "Save it as CSV in UTF-8."
        raise DataError(f"The {name} cannot be read: {error}.", where=path, remedy=advice) from error
    return Table(columns, rows)


def _check_columns(columns: Sequence[str], required: Sequence[str], path: Path, name: str, remedy: str) -> None:
    for sign, word in SEPARATORS.items():
        if len(columns) == 1 and sign in columns[0]:
            advice = "Save it as CSV with commas between cells and points in numbers."
            raise DataError(f"The {name} has {word} between its cells.", where=path, remedy=advice)
    if missing := [column for column in required if column not in columns]:
        raise DataError(f"The {name} lacks the columns {', '.join(missing)}.", where=path, remedy=remedy)
    if twice := [column for column in columns if column and columns.count(column) > 1]:
        raise DataError(f"The {name} has the column {twice[0]} twice.", where=path, remedy="Keep one of them.")


def _row(where: str, cells: dict[str | None, str | list[str] | None]) -> Row:
    beyond = cells.pop(None, None)
    if any(beyond or ()):
        raise DataError("The row has more cells than the table has columns.", where=where,
                        remedy="Put texts with commas into double quotes.")  # fmt: skip
    return Row(where, {str(column): str(text or "").strip() for column, text in cells.items()})
