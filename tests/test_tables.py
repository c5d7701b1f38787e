"""Tables of users: what is read, and what of a table is wrong, where, and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.evaluation.cases import read_case_table
from nnunetv2_textguided.picai.case_text import read_prostatex
from nnunetv2_textguided.picai.dataset_files import read_cases
from nnunetv2_textguided.picai.marksheet import read_marksheet
from nnunetv2_textguided.tables import read_table
from nnunetv2_textguided.text.case_text import read_case_text

READERS = {
    "marksheet": read_marksheet,
    "cases of a data set": read_cases,
    "cases of an evaluation": read_case_table,
    "case text": read_case_text,
    "findings": read_prostatex,
}


def test_a_spreadsheet_s_marks_and_spaces_are_no_content(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b'\xef\xbb\xbfcase,text\r\n c1 ,"one, two"\r\nc2\r\nc3,"two\r\nlines",\r\n')
    table = read_table(path, ["case"])
    assert table.columns == ("case", "text")
    assert [row.cells for row in table.rows] == [
        {"case": "c1", "text": "one, two"},
        {"case": "c2", "text": ""},
        {"case": "c3", "text": "two\r\nlines"},
    ]
    assert [row.where for row in table.rows] == [f"{path}, line {line}" for line in (2, 3, 5)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"case;text\nc1;12,3\n", r"(?s)has semicolons between its cells.*commas between cells"),
        (b"case\ttext\nc1\t1\n", "has tabs between its cells"),
        (b"identifier,text\nc1,1\n", r"(?s)lacks the columns case\..*the remedy"),
        (b"", "lacks the columns case"),
        (b"case,text,text\nc1,1,2\n", "has the column text twice"),
        (b"case,text\nc1,one, two\n", r"(?s)more cells.*line 2.*double quotes"),
        (b"case,text\nc1,l\xe9sion\n", "cannot be read: 'utf-8' codec"),
    ],
    ids=["semicolons", "tabs", "column", "empty", "twice", "cells", "encoding"],
)
def test_what_is_wrong_is_said(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_table(path, ["case"], remedy="This is the remedy.")


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_tells_semicolons_and_another_encoding(tmp_path: Path, reader: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b"case;patient\nc1;1\n")
    with pytest.raises(DataError, match="semicolons"):
        READERS[reader](path)
    path.write_bytes(b"case,patient\nc1,\xe9\n")
    with pytest.raises(DataError, match=r"cannot be read|lacks the columns"):
        READERS[reader](path)
    with pytest.raises(DataError, match="cannot be read"):
        READERS[reader](tmp_path / "none.csv")
