"""Case text of the archive: what the marksheet and ProstateX's table say, and that pathology never does."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from nnunetv2_textguided.cli import main
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.picai.case_text import (
    ProstateXFinding,
    archive_case_text,
    from_marksheet,
    locate,
    prostatex_studies,
    read_prostatex,
)
from nnunetv2_textguided.picai.marksheet import MARKSHEET, Row, read_marksheet
from nnunetv2_textguided.text.case_text import ClinicalFacts, read_case_text
from tests.picai.archive_builder import CASES, GLAND, Builder, build_archive

INDEX = Path(__file__).resolve().parents[3] / "shared" / "data" / "picai_index" / "marksheet.csv"
ROW = Row("1_2", "1", "2", True, 3, "RUMC", "8.5", "", "60", "40", "4,N/A,2,5", "3,2,0,1", "4+3,3+4,0+0,3+3")
# The gland of the builder's studies: slices 1 to 6 of 3 mm, 4 to 16 mm in x and y.
CENTRE = (9.75, 9.75)


def table(path: Path, rows: list[str]) -> Path:
    path.write_text("ProxID,fid,pos,zone,ClinSig\n" + "\n".join(rows) + "\n")
    return path


def mapping(builder: Builder, names: dict[str, str]) -> None:
    path = builder.labels / "additional_resources" / "ProstateX-mapping.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(names))


def test_lesions_by_grade_and_not_those_that_only_pathology_found() -> None:
    text, remarks = from_marksheet(ROW, ("pirads",))
    assert text.findings == ("PI-RADS 5 lesion", "PI-RADS 4 lesion")
    assert not text.clinical
    assert not remarks


@pytest.mark.parametrize(
    ("pirads", "findings"),
    [("2", ("no suspicious lesion, PI-RADS 2",)), ("1,2", ("no suspicious lesion, PI-RADS 2",)), ("", ()), ("N/A", ())],
)
def test_nothing_suspicious(pirads: str, findings: tuple[str, ...]) -> None:
    assert from_marksheet(replace(ROW, pirads=pirads), ("pirads",))[0].findings == findings


def test_a_grade_that_is_none() -> None:
    with pytest.raises(DataError, match="study 1_2"):
        from_marksheet(replace(ROW, pirads="4,6"), ("pirads",))


def test_clinical_facts_and_values_that_cannot_be() -> None:
    assert from_marksheet(ROW, ("clinical",))[0].clinical == ClinicalFacts(8.5, 60, 40)
    text, remarks = from_marksheet(replace(ROW, psa="", age="1960", prostate_volume="40 ml"), ("clinical",))
    assert not text.clinical
    assert len(remarks) == 2
    assert "years" in remarks[0]
    assert "mL" in remarks[1]


@pytest.mark.skipif(not INDEX.is_file(), reason="the archive's marksheet is not here")
def test_pathology_does_not_change_a_character(tmp_path: Path) -> None:
    """The archive's whole marksheet, and the same with every verdict of pathology exchanged."""
    changed = tmp_path / "marksheet.csv"
    with INDEX.open(newline="") as source, changed.open("w", newline="") as target:
        reader = csv.DictReader(source)
        writer = csv.DictWriter(target, reader.fieldnames or ())
        writer.writeheader()
        for row in reader:
            positive = row["case_csPCa"] == "YES"
            verdicts = ("NO", "0", "", "") if positive else ("YES", "5", "5", "5+5")
            row |= zip(("case_csPCa", "case_ISUP", "lesion_ISUP", "lesion_GS"), verdicts, strict=True)
            writer.writerow(row | {"histopath_type": "" if positive else "RP"})
    kinds = ("clinical", "pirads")
    before, after = (
        {case: from_marksheet(row, kinds) for case, row in read_marksheet(p).items()} for p in (INDEX, changed)
    )
    assert len(before) == 1500
    assert before == after


def test_positions_become_words(tmp_path: Path) -> None:
    builder = build_archive(tmp_path)
    x, y = CENTRE
    findings = [
        ProstateXFinding("ProstateX-0000", (x + 4, y + 4, 4.0), "peripheral zone"),
        ProstateXFinding("ProstateX-0000", (x - 4, y - 4, 17.0), "transition zone"),
        ProstateXFinding("ProstateX-0000", (x + 1, y - 4, 11.0), "anterior fibromuscular stroma"),
        ProstateXFinding("ProstateX-0000", (x + 4, y + 4, 20.0), "seminal vesicles"),
        ProstateXFinding("ProstateX-0000", (x + 90, y, 11.0), "peripheral zone"),
    ]
    places, remarks = locate(findings, builder.label_file(GLAND, CASES[0]))
    assert list(map(str, places)) == [
        "left posterior peripheral zone at the apex",
        "right anterior transition zone at the base",
        "anterior fibromuscular stroma at mid-gland",
        "seminal vesicles",
        "peripheral zone",
    ]
    assert len(remarks) == 1
    assert "far from the gland" in remarks[0]


def test_the_verdict_of_prostatex_is_not_read(tmp_path: Path) -> None:
    rows = ["ProstateX-0000,1,10 14 5,PZ,{}", "ProstateX-0002,1,5 5 5,TZ,{}"]
    read = [
        read_prostatex(table(tmp_path / "findings.csv", [row.format(verdict) for row in rows]))
        for verdict in ("TRUE", "FALSE", "")
    ]
    assert read[0] == read[1] == read[2]


@pytest.mark.parametrize(
    ("row", "what"), [("ProstateX-0000,1,10 14,PZ,TRUE", "position"), ("ProstateX-0000,1,1 2 3,XX,TRUE", "zone")]
)
def test_damaged_findings(tmp_path: Path, row: str, what: str) -> None:
    with pytest.raises(DataError, match=what) as refused:
        read_prostatex(table(tmp_path / "findings.csv", [row]))
    assert "line 2" in str(refused.value)


def test_a_patient_with_two_studies_is_left_out(tmp_path: Path) -> None:
    builder = build_archive(tmp_path)
    names = {"ProstateX-0000_1": CASES[0], "ProstateX-0001_1": CASES[1], "ProstateX-0001_2": CASES[2]}
    mapping(builder, names)
    assert prostatex_studies(builder.labels) == {"ProstateX-0000": CASES[0]}


def test_the_archives_text(tmp_path: Path) -> None:
    builder = build_archive(tmp_path)
    mapping(builder, {"ProstateX-0000_1": CASES[0]})
    findings = table(tmp_path / "findings.csv", ["ProstateX-0000,1,14 14 5,PZ,TRUE", "ProstateX-0009,1,1 1 1,PZ,TRUE"])
    rows = read_marksheet(builder.labels / MARKSHEET)
    texts, _ = archive_case_text(rows, CASES, builder.labels, ("pirads", "findings"), findings)
    assert texts[CASES[0]].findings == (
        "PI-RADS 4 lesion",
        "finding in the left posterior peripheral zone at the apex",
    )
    assert texts[CASES[1]].findings == ("PI-RADS 4 lesion", "PI-RADS 4 lesion")


def test_prepare_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("picai_prep")
    builder = build_archive(tmp_path)
    raw = tmp_path / "raw"
    words = ["picai", "prepare", "--images", builder.images, "--labels", builder.labels, "-d", "2203", "--raw", raw]
    command = [*map(str, words), "--jobs", "1"]
    path = raw / "Dataset2203_PICAI" / "case_text.json"
    assert main(command) == 0
    assert not path.exists()
    # Asked for later, without preparing anything again.
    assert main([*command, "--case-text", "clinical", "pirads"]) == 0
    assert "4 of 4 cases with sentences, 4 with clinical facts" in capsys.readouterr().out
    texts = read_case_text(path, cases=CASES)
    assert texts[CASES[0]].clinical == ClinicalFacts(8.5, 60, 40)
    assert texts[CASES[0]].pirads == 4


@pytest.mark.parametrize("words", [["findings"], ["none", "pirads"]])
def test_kinds_that_do_not_fit(tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    builder = build_archive(tmp_path)
    assert main(builder.prepare(tmp_path, "--case-text", *words)) == 1
    assert "--case-text" in capsys.readouterr().err
