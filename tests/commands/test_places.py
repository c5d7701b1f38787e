"""What cannot be written ends in an error with its place, and never in a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnunetv2_textguided.cli import main


@pytest.mark.parametrize(
    "words",
    [
        ["demo", "--quick", "--output", "{file}"],
        ["demo", "--quick", "--output", "{file}/below"],
        ["export-container", "--model", "{folder}", "-o", "{file}"],
        ["export-model", "-m", "{folder}", "-o", "{file}"],
    ],
    ids=lambda words: f"{words[0]} {words[-1]}",
)
def test_a_file_where_a_folder_is_wanted(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, folder = tmp_path / "file", tmp_path / "folder"
    file.write_text("kept")
    folder.mkdir()
    assert main([word.format(file=file, folder=folder) for word in words]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert str(file) in told
    assert "what to do: Choose another" in told
    assert file.read_text() == "kept"
