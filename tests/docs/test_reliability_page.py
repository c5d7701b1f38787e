"""The page on reliability names a test in every row, and nothing but tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def test_every_row_names_a_test_that_exists(repository: Path) -> None:
    page = (repository / "docs" / "reliability.md").read_text(encoding="utf-8")
    lines = page.splitlines()
    # The first line of a table is its heading, the second the ruler.
    rows = [line for i, line in enumerate(lines) if line.startswith("|") and i >= 2 and lines[i - 2].startswith("|")]
    assert len(rows) > 30
    for row in rows:
        found = TEST.findall(row)
        assert found, row
        for file, test in found:
            source = (repository / file).read_text(encoding="utf-8")
            assert re.search(rf"^def {test}\(", source, flags=re.MULTILINE), f"{file}::{test}"


def test_nightly_tests_are_marked_as_such(repository: Path) -> None:
    page = (repository / "docs" / "reliability.md").read_text(encoding="utf-8")
    for row in page.splitlines():
        for file, test in TEST.findall(row) if row.startswith("|") else ():
            source = (repository / file).read_text(encoding="utf-8")
            marks = re.search(rf"((?:^@.*\n)*)^def {test}\(", source, flags=re.MULTILINE)
            assert marks is not None
            assert ("mark.nightly" in marks.group(1)) == ("(nightly)" in row), test
