from __future__ import annotations

from pathlib import Path

from nnunetv2_textguided.files import write_json
from nnunetv2_textguided.inference.cases import CASES
from nnunetv2_textguided.inference.tables import write_tables


def record(case: str) -> dict[str, object]:
    return {"case": case, "case_likelihood": 0.0, "candidates": [], "volume_ml": 0.0}


def test_what_a_killed_run_left_behind_is_no_second_row(tmp_path: Path) -> None:
    write_json(tmp_path / CASES / "a.json", record("a"))
    write_json(tmp_path / CASES / ".a.json.x1y2.partial.json", record("a"))
    assert write_tables(tmp_path) == (1, 0)
    assert len((tmp_path / "cases.csv").read_text().splitlines()) == 2


def test_a_folder_without_cases_has_tables_with_headings_only(tmp_path: Path) -> None:
    assert write_tables(tmp_path) == (0, 0)
    assert len((tmp_path / "lesions.csv").read_text().splitlines()) == 1
