"""Marksheet, label sources, the rule for contradictions, and the labels of a dataset.json."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.nnunet.labels import PICAI_TARGET, find_target, label_values, target_of
from nnunetv2_textguided.picai.contradictions import Action, Rule, contradiction, decide, grade_mismatch
from nnunetv2_textguided.picai.label_sources import LesionSource, choose_source, scan_labels
from nnunetv2_textguided.picai.marksheet import read_marksheet

from .archive_builder import BOSMA, CASES, EXPERT, HEADER, POOCH


def marksheet(tmp_path: Path, *rows: dict[str, str], header: list[str] = HEADER) -> Path:
    lines = [",".join(header)] + [",".join(f'"{row.get(c, "")}"' for c in header) for row in rows]
    path = tmp_path / "marksheet.csv"
    path.write_text("\n".join(lines))
    return path


ROW = {"patient_id": "1", "study_id": "2", "case_ISUP": "3", "case_csPCa": "YES", "center": "ZGT", "lesion_ISUP": "3,0"}


def test_the_marksheet_is_read_with_lists_per_lesion_and_unknown_fields_empty(tmp_path: Path) -> None:
    row = read_marksheet(marksheet(tmp_path, ROW))["1_2"]
    assert (row.cspca, row.isup, row.centre, row.lesion_isup, row.psa) == (True, 3, "ZGT", "3,0", "")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{**ROW, "case_csPCa": "maybe"}], "'MAYBE', not YES or NO"),
        ([{**ROW, "case_ISUP": "high"}], "'high', not a number"),
        ([ROW, ROW], "appears twice"),
    ],
)
def test_a_damaged_marksheet_names_the_line(tmp_path: Path, rows: list[dict[str, str]], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_marksheet(marksheet(tmp_path, *rows))
    assert "line" in str(caught.value.where)


def test_columns_that_nothing_rests_on_may_be_missing(tmp_path: Path) -> None:
    fewer = [c for c in HEADER if c not in ("psad", "patient_age", "prostate_volume", "lesion_GS")]
    row = read_marksheet(marksheet(tmp_path, ROW, header=fewer))["1_2"]
    assert (row.isup, row.psad, row.age, row.prostate_volume, row.lesion_gs) == (3, "", "", "", "")


def test_a_marksheet_without_the_verdict_column_or_no_marksheet_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="lacks the columns case_csPCa"):
        read_marksheet(marksheet(tmp_path, ROW, header=[c for c in HEADER if c != "case_csPCa"]))
    with pytest.raises(DataError, match="cannot be read"):
        read_marksheet(tmp_path / "absent.csv")


@pytest.mark.parametrize(
    ("present", "allow_ai", "expected"),
    [
        ((EXPERT, POOCH, BOSMA), True, LesionSource.EXPERT),
        ((POOCH, BOSMA), True, LesionSource.POOCH25),
        ((BOSMA,), True, LesionSource.BOSMA22A),
        ((BOSMA,), False, None),
    ],
)
def test_human_masks_come_first_and_ai_masks_only_on_request(
    tmp_path: Path, present: tuple[str, ...], allow_ai: bool, expected: LesionSource | None
) -> None:
    for folder in present:
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / f"{CASES[0]}.nii.gz").touch()
    assert choose_source(CASES[0], scan_labels(tmp_path), allow_ai=allow_ai) is expected


def test_a_folder_without_masks_is_no_label_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no lesion mask") as caught:
        scan_labels(tmp_path)
    assert "picai_labels" in str(caught.value.remedy)


def test_the_rule_for_contradictions_is_a_table() -> None:
    table = {
        (Rule.EXCLUDE, True, False): Action.EXCLUDE,
        (Rule.EXCLUDE, False, True): Action.EXCLUDE,
        (Rule.MASK, True, False): Action.KEEP,
        (Rule.MASK, False, True): Action.KEEP,
        (Rule.MARKSHEET, True, False): Action.EXCLUDE,
        (Rule.MARKSHEET, False, True): Action.EMPTY,
    }
    for rule, cspca, has_lesion in itertools.product(Rule, (True, False), (True, False)):
        expected = table.get((rule, cspca, has_lesion), Action.KEEP)
        assert decide(rule, cspca=cspca, has_lesion=has_lesion) is expected
        assert (contradiction(cspca=cspca, has_lesion=has_lesion) is None) == (cspca == has_lesion)


def test_another_grade_than_the_marksheets_is_a_remark() -> None:
    assert grade_mismatch(frozenset({2, 4}), 3) == "the mask's highest ISUP grade is 4, the marksheet's 3"
    assert grade_mismatch(frozenset({2, 3}), 3) is None
    assert grade_mismatch(frozenset({1}), 3) is None  # Pooch25's masks carry no grade


def test_the_target_is_found_by_name_also_among_zones_and_regions() -> None:
    zones = {"background": 0, "peripheral zone": 1, "transition zone": 2, "csPCa": 3}
    assert (target_of(zones, "csPCa", "").values, target_of(zones, "csPCa", "").channel) == (frozenset({3}), 3)
    regions = {"background": 0, "gland": [1, 2], "csPCa": [2], "ignore": 3}
    target = target_of(regions, "csPCa", "")
    assert (target.values, target.channel, target.regions) == (frozenset({2}), 1, True)
    assert label_values(regions) == {0, 1, 2, 3}
    with pytest.raises(DataError, match="no label 'lesion'"):
        target_of(zones, "lesion", "dataset.json")


def test_without_a_dataset_json_the_convention_of_picai_labels_holds(tmp_path: Path) -> None:
    assert find_target((tmp_path,), "csPCa") == (PICAI_TARGET, None)
    with pytest.raises(DataError, match="'peripheral zone'"):
        find_target((tmp_path,), "peripheral zone")
