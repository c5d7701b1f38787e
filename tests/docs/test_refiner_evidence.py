"""The page on the refiner says what its table of cases says."""

from __future__ import annotations

import pandas as pd
import pytest

from tests.datasets import REPOSITORY
from tests.scripts import load_script

DOCS = REPOSITORY / "docs"
PAGE = (DOCS / "refiner_designs.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def script() -> object:
    return load_script(DOCS / "evidence" / "refiner.py")


def test_the_rows_are_those_of_the_cases(script) -> None:
    rows = script.rows()
    assert len(rows) == 7
    assert [row for row in rows if row not in PAGE] == []
    assert script.edits() in PAGE


def test_the_claim_stands_and_the_readme_has_it(script) -> None:
    study = script.Study(pd.read_csv(script.TABLE))
    assert len(study.trainings) == 10
    on, off = (lambda repeat, fold, name=name: name for name in (script.ON, script.OFF))
    found = study.difference(on, off, "nsd", True)
    assert found.ends.low > 0
    claim = f"{found.value:+.3f} [{found.ends.low:+.3f}, {found.ends.high:+.3f}]"
    assert claim in (DOCS.parent / "README.md").read_text(encoding="utf-8")
    assert all(f"{value:+.3f}" in PAGE for value in found.by_fold)


def test_a_cut_is_fitted_on_other_folds_alone(script) -> None:
    table = pd.read_csv(script.TABLE)
    before = script.Study(table).fitted("dice", 0)(1, 0)
    spoilt = table.copy()
    spoilt.loc[(spoilt.fold == 0) & (spoilt.what != "cut 0.5"), "dice"] = 0.0
    assert script.Study(spoilt).fitted("dice", 0)(1, 0) == before
