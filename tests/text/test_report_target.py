"""What a report counts: the key "target" of case text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nnunetv2_textguided.anatomy.sectors import Sector
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.text.case_text import read_case_text, write_case_text
from nnunetv2_textguided.text.report_target import ReportedLesion, ReportTarget

FULL = {"zone": "PZ", "side": "left", "level": "mid-gland", "depth": "posterior", "diameter_mm": 14}


def _read(folder: Path, target: Any) -> ReportTarget | None:
    path = folder / "case_text.json"
    path.write_text(json.dumps({"case_1": {"target": target}}))
    return read_case_text(path)["case_1"].target


def test_everything_that_is_said_is_read_and_written(tmp_path: Path) -> None:
    target = _read(tmp_path, {"lesions": 2, "findings": [FULL]})
    sector = Sector("peripheral zone", "left", "mid-gland", "posterior")
    assert target == ReportTarget(2, (ReportedLesion(sector, 14.0),))
    texts = read_case_text(tmp_path / "case_text.json")
    write_case_text(tmp_path / "again.json", texts)
    assert read_case_text(tmp_path / "again.json") == texts
    assert not texts["case_1"], "a target is no text that a network is told"


@pytest.mark.parametrize("target", [{"lesions": 0}, {"lesions": 3}, {"lesions": 1, "findings": [{}]}])
def test_less_may_be_known(tmp_path: Path, target: dict) -> None:
    assert _read(tmp_path, target) == ReportTarget(
        target["lesions"], tuple(ReportedLesion() for _ in target.get("findings", []))
    )


def test_findings_alone_are_counted(tmp_path: Path) -> None:
    assert _read(tmp_path, {"findings": [{"side": "right"}, FULL]}).lesions == 2  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ([], "target is []"),
        ({}, "'lesions' is None"),
        ({"lesions": True}, "'lesions' is True"),
        ({"lesions": -1}, "'lesions' is -1"),
        ({"lesions": 1.5}, "'lesions' is 1.5"),
        ({"lesions": 0, "findings": [{}]}, "1 findings describe 0 lesions"),
        ({"lesion": 1}, "Unknown key 'lesion'"),
        ({"lesions": 1, "findings": {}}, "'findings' is no list"),
        ({"lesions": 1, "findings": ["PZ"]}, "finding is 'PZ'"),
        ({"lesions": 1, "findings": [{"zone": "CZ"}]}, "'zone' is 'CZ'"),
        ({"lesions": 1, "findings": [{"side": "Left"}]}, "'side' is 'Left'"),
        ({"lesions": 1, "findings": [{"size_mm": 3}]}, "Unknown key 'size_mm'"),
        ({"lesions": 1, "findings": [{"diameter_mm": 1.4}]}, "1 cm is 10 mm"),
        ({"lesions": 1, "findings": [{"diameter_mm": "14"}]}, "not a number"),
        ({"lesions": 1, "findings": [{"diameter_mm": 1400}]}, "have 3 to 150"),
    ],
)
def test_what_cannot_be_is_an_error_that_names_the_case(tmp_path: Path, target: Any, words: str) -> None:
    with pytest.raises(DataError) as caught:
        _read(tmp_path, target)
    assert words in str(caught.value)
    assert "case_1" in str(caught.value)
