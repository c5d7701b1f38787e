from __future__ import annotations

import json
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


def test_lesions_are_listed_as_json_too(tmp_path: Path) -> None:
    write_tables(tmp_path)
    assert json.loads((tmp_path / "lesions.json").read_text()) == []
    lesion = {
        "candidate": 1,
        "confidence": 0.7,
        "volume_ml": 0.123456,
        "centroid_lps_mm": [1.0, 2.0, 3.0],
        "zone": None,
    }
    for case, lesions in (("a", [lesion, {**lesion, "candidate": 2}]), ("b", []), ("é", [lesion])):
        write_json(tmp_path / CASES / f"{case}.json", {**record(case), "candidates": lesions})
    assert write_tables(tmp_path) == (3, 3)
    listed = json.loads((tmp_path / "lesions.json").read_text(encoding="utf-8"))
    assert [(row["case"], row["candidate"]) for row in listed] == [("a", 1), ("a", 2), ("é", 1)]
    assert listed[0] == {"case": "a", **lesion}
    assert len((tmp_path / "lesions.csv").read_text(encoding="utf-8").splitlines()) == 4
