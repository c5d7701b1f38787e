"""Case text: what is read, and that everything else is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.text.case_text import (
    CaseText,
    ClinicalFacts,
    find_case_text,
    parse_entry,
    read_case_text,
    write_case_text,
)

SENTENCE = "PI-RADS 5 lesion in the left posterior peripheral zone at mid-gland"
ENTRY = {"findings": [SENTENCE], "clinical": {"psa_ng_per_ml": 12.3, "age_years": 68, "prostate_volume_ml": 58}}


def written(folder: Path, content: object) -> Path:
    path = folder / "case_text.json"
    path.write_text(json.dumps(content))
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    texts = read_case_text(written(tmp_path, {"A": ENTRY, "B": {}}), cases=["A", "B", "C"])
    assert texts["A"] == CaseText((SENTENCE,), ClinicalFacts(12.3, 68, 58))
    assert texts["A"].pirads == 5
    assert texts["A"].clinical.psa_density == pytest.approx(12.3 / 58)
    assert not texts["B"]
    write_case_text(tmp_path / "again.json", texts)
    assert json.loads((tmp_path / "again.json").read_text()) == {"A": ENTRY}
    assert read_case_text(tmp_path / "again.json") == {"A": texts["A"]}


def test_a_table_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "case_text.csv"
    path.write_text(
        "case,finding,psa_ng_per_ml,age_years,prostate_volume_ml\n"
        f'A,"{SENTENCE}",12.3,68,58\nA,"PI-RADS 3 lesion, at the apex",,,\nB,,,70,\n'
    )
    texts = read_case_text(path)
    assert texts["A"] == CaseText((SENTENCE, "PI-RADS 3 lesion, at the apex"), ClinicalFacts(12.3, 68, 58))
    assert texts["B"] == CaseText((), ClinicalFacts(age_years=70))


@pytest.mark.parametrize(
    ("sentence", "grade"),
    [("PI-RADS 4 lesion", 4), ("pirads score: 3", 3), ("PI RADS category 2", 2), ("PSA 5", None), ("PI-RADS 45", None)],
)
def test_the_grade_is_read_from_the_sentence(sentence: str, grade: int | None) -> None:
    assert CaseText((sentence,)).pirads == grade


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        ({"finding": ["x"]}, "'findings'"),
        ({"clinical": {"psa": 3}}, "psa_ng_per_ml"),
        ({"clinical": {"psa_ng_per_ml": "12"}}, "ng/mL"),
        ({"clinical": {"psa_ng_per_ml": float("nan")}}, "ng/mL"),
        ({"clinical": {"psa_ng_per_ml": 0}}, "ng/mL"),
        ({"clinical": {"age_years": 1956}}, "years"),
        ({"clinical": {"prostate_volume_ml": 58000}}, "1000 mm3"),
        ({"clinical": {"age_years": True}}, "not a number"),
        ({"findings": "one sentence"}, "list"),
        ({"findings": [""]}, "empty"),
        ({"findings": ["x"] * 65}, "64"),
        ({"findings": ["x" * 2001]}, "2000"),
        ({"findings": ["bell \x07"]}, "U+0007"),
        ({"findings": [3]}, "text"),
        (None, "entry"),
    ],
)
def test_what_no_patient_has_is_refused(entry: object, what: str) -> None:
    with pytest.raises(DataError) as refused:
        parse_entry(entry, "case_text.json, case A")
    assert what in str(refused.value)
    assert "case A" in str(refused.value)


def test_a_case_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"PICAI_001_0000.nii.gz(.|\n)*looks like PICAI_001"):
        read_case_text(written(tmp_path, {"PICAI_001_0000.nii.gz": ENTRY}), cases=["PICAI_001", "PICAI_002"])


@pytest.mark.parametrize(
    ("table", "what"),
    [
        ("name,finding\nA,x\n", "lacks the columns case"),
        ("case,findings\nA,x\n", "'finding'"),
        ("case,finding\nA,in the left, posterior zone\n", "double quotes"),
        ("case,psa_ng_per_ml\nA,12 ng/mL\n", "without a unit"),
        ("case,psa_ng_per_ml\nA,12\nA,13\n", "differ in psa_ng_per_ml"),
        ("case,finding\n,x\n", "names no case"),
    ],
)
def test_damaged_tables(tmp_path: Path, table: str, what: str) -> None:
    path = tmp_path / "case_text.csv"
    path.write_text(table)
    with pytest.raises(DataError) as refused:
        read_case_text(path)
    assert what in str(refused.value)


def test_damaged_json(tmp_path: Path) -> None:
    path = tmp_path / "case_text.json"
    for content in ("[]", "{", '{"A": {}, "A": {}}'):
        path.write_text(content)
        with pytest.raises(DataError, match=r"case_text\.json"):
            read_case_text(path)


def test_two_files_are_one_too_many(tmp_path: Path) -> None:
    assert find_case_text(tmp_path) is None
    written(tmp_path, {})
    assert find_case_text(tmp_path) == tmp_path / "case_text.json"
    (tmp_path / "case_text.csv").write_text("case\n")
    with pytest.raises(DataError, match="two files"):
        find_case_text(tmp_path)
