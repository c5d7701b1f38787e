"""`picai prepare --masks --text-cases`: which cases keep their outlines, and what the others are."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_textguided.cli import main
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.nnunet.labels import trainable_labels
from nnunetv2_textguided.picai.masks import limit_masks
from nnunetv2_textguided.picai.options import PrepareOptions
from nnunetv2_textguided.picai.plan import make_plan
from nnunetv2_textguided.text.case_text import read_case_text
from tests.picai.archive_builder import CASES, EXPERT, HEADER, Builder
from tests.picai.test_case_text import mapping, table

POSITIVE, NEGATIVE = (CASES[0], CASES[2]), (CASES[1], CASES[3])
Run = Callable[..., int]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return tmp_path / "raw" / "Dataset2203_PICAI"


@pytest.fixture
def run(builder: Builder, tmp_path: Path) -> Run:
    def command(*more: object) -> int:
        return main(builder.prepare(tmp_path / "raw", "--jobs", "1", *more))

    return command


def listed(tmp_path: Path, *cases: str) -> Path:
    path = tmp_path / "masks.txt"
    path.write_text("".join(f"{case}\n" for case in cases))
    return path


def label(dataset: Path, case: str, folder: str = "labelsTr") -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(dataset / folder / f"{case}.nii.gz")))


def rows(dataset: Path) -> dict[str, dict[str, str]]:
    with (dataset / "cases.csv").open(newline="") as stream:
        return {row["case"]: row for row in csv.DictReader(stream)}


def edit_marksheet(builder: Builder, case: str, **fields: str) -> None:
    path = builder.labels / "clinical_information" / "marksheet.csv"
    with path.open(newline="") as stream:
        edited = [row | (fields if f"{row['patient_id']}_{row['study_id']}" == case else {}) for row in
                  csv.DictReader(stream)]  # fmt: skip
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, HEADER)
        writer.writeheader()
        writer.writerows(edited)


def test_the_draw_keeps_the_share_of_positives_and_more_masks_include_fewer(builder: Builder, tmp_path: Path) -> None:
    cases = [f"{10000 + i}_{1000000 + i}" for i in range(20)]
    for number, case in enumerate(cases):
        builder.study(case, cspca=number % 4 == 0)
    builder.marksheet({case: number % 4 == 0 for number, case in enumerate(cases)})
    plan = make_plan(builder.images, builder.labels, tmp_path / "x", PrepareOptions())

    def kept(number: int, seed: int = 0) -> set[str]:
        limited, options = limit_masks(plan, PrepareOptions(), str(number), seed)
        assert set(limited.jobs) == set(options.masks or ())
        assert set(limited.skipped) == set(cases) - set(limited.jobs)
        return set(limited.jobs)

    draws = {number: kept(number) for number in (1, 4, 8, 12, 20)}
    positives = {number: sum(cases.index(case) % 4 == 0 for case in drawn) for number, drawn in draws.items()}
    assert positives == {1: 1, 4: 1, 8: 2, 12: 3, 20: 5}
    assert {number: len(drawn) for number, drawn in draws.items()} == {number: number for number in draws}
    assert draws[4] < draws[8] < draws[12] < draws[20]
    assert kept(8) == draws[8]
    assert len({frozenset(kept(8, seed)) for seed in range(5)}) > 1


def test_other_cases_become_text_only(run: Run, dataset: Path, builder: Builder, tmp_path: Path, capsys) -> None:
    assert run("--masks", listed(tmp_path, *CASES[:2]), "--text-cases", "--classes", "anatomy") == 0
    kinds = ("annotated with lesion", "annotated without lesion", "text only with lesion", "text only without lesion")
    told = ", ".join(f"1 {kind}" for kind in kinds)
    assert told in capsys.readouterr().out
    assert main(["picai", "check", str(dataset), "--jobs", "1"]) == 0
    assert f"cases: {told}\n" in capsys.readouterr().out
    description = json.loads((dataset / "dataset.json").read_text())
    assert description["labels"] == {"background": 0, "csPCa": 1, "ignore": 2}
    assert description["numTraining"] == 4
    assert trainable_labels(description).ignored == 2
    for case in CASES[:2]:
        expert = sitk.GetArrayFromImage(sitk.ReadImage(str(builder.label_file(EXPERT, case))))
        assert np.array_equal(label(dataset, case), expert > 0)
    for case in CASES[2:]:
        assert (label(dataset, case) == 2).all()
        assert set(np.unique(label(dataset, case, "anatomyTr"))) == {0, 1, 2}, "its zones are there"
    texts = read_case_text(dataset / "case_text.json", cases=CASES)
    targets = {case: text.target.lesions for case, text in texts.items() if text.target is not None}
    assert targets == {CASES[2]: 1, CASES[3]: 0}
    assert not any(texts.values()), "no input was asked for"
    found = rows(dataset)
    assert [found[case]["label_source"] for case in CASES] == ["human_expert"] * 2 + ["text only"] * 2
    assert [found[case]["lesions"] for case in CASES] == ["1", "0", "", ""]
    assert "human_expert 2. " in (dataset / "LICENCE.md").read_text()


@pytest.mark.parametrize("classes", ["lesion", "zones", "anatomy"])
def test_nnunet_knows_the_ignore_label_and_has_no_output_for_it(classes: str) -> None:
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    plain, more = (PrepareOptions(classes=classes, text_cases=text).labels for text in (False, True))
    stock, manager = LabelManager(plain, None), LabelManager(more, None)
    assert manager.ignore_label == max(plain.values()) + 1
    assert manager.num_segmentation_heads == stock.num_segmentation_heads


def test_outlines_alone_are_validated(run: Run, dataset: Path, tmp_path: Path) -> None:
    assert run("--masks", listed(tmp_path, *CASES[:2]), "--text-cases") == 0
    folds = json.loads((dataset / "splits_final.json").read_text())
    assert sorted(case for fold in folds for case in fold["val"]) == sorted(CASES[:2])
    for fold in folds:
        assert set(CASES[2:]) <= set(fold["train"])
        assert set(fold["train"]) | set(fold["val"]) == set(CASES)
        assert not set(fold["train"]) & set(fold["val"])
    assert [rows(dataset)[case]["fold"] != "" for case in CASES] == [True, True, False, False]


def test_without_text_cases_the_others_are_left_out(run: Run, dataset: Path, tmp_path: Path) -> None:
    assert run("--masks", "2") == 0
    assert json.loads((dataset / "dataset.json").read_text())["labels"] == {"background": 0, "csPCa": 1}
    kept = {path.name.removesuffix(".nii.gz") for path in (dataset / "labelsTr").iterdir()}
    assert len(kept & set(POSITIVE)) == len(kept & set(NEGATIVE)) == 1
    assert set(rows(dataset)) == kept
    assert not (dataset / "case_text.json").exists()


def test_text_of_an_earlier_preparation_does_not_stay_in_force(run: Run, dataset: Path, capsys) -> None:
    assert run("--masks", "2", "--text-cases") == 0
    written = (dataset / "case_text.json").read_bytes()
    assert run("--overwrite") == 0
    assert not (dataset / "case_text.json").exists()
    assert (dataset / "case_text.earlier.json").read_bytes() == written
    assert "case_text.earlier.json: no text was asked for" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wanted", "what"),
    [("0", "there are 4"), ("5", "there are 4"), ("nowhere.txt", "cannot be read"), ("list", "names no case")],
)
def test_masks_that_cannot_be_kept(run: Run, tmp_path: Path, wanted: str, what: str, capsys) -> None:
    assert run("--masks", listed(tmp_path) if wanted == "list" else wanted, "--text-cases") == 1
    assert what in capsys.readouterr().err
    assert not (tmp_path / "raw").exists()


def test_a_listed_case_without_an_outline_is_named(run: Run, builder: Builder, tmp_path: Path, capsys) -> None:
    builder.label_file(EXPERT, CASES[1]).unlink()
    assert run("--masks", listed(tmp_path, *CASES[:2], "99999_9"), "--text-cases") == 1
    assert f"2 of the listed cases have no outline here: {CASES[1]}, 99999_9" in capsys.readouterr().err
    assert not (tmp_path / "raw").exists()


def test_cases_that_nobody_outlined_are_text_only_by_themselves(run: Run, dataset: Path, builder: Builder) -> None:
    builder.label_file(EXPERT, CASES[2]).unlink()
    assert run("--text-cases") == 0
    assert (label(dataset, CASES[2]) == 2).all()
    assert [rows(dataset)[case]["label_source"] for case in CASES].count("human_expert") == 3


def test_neither_mask_nor_count_is_left_out_and_listed(run: Run, dataset: Path, builder: Builder, tmp_path) -> None:
    edit_marksheet(builder, CASES[2], lesion_ISUP="")
    assert run("--masks", listed(tmp_path, *CASES[:2]), "--text-cases") == 0
    left = rows(dataset)[CASES[2]]
    assert (left["label_source"], left["fold"]) == ("left out", "")
    assert "lesion_ISUP does not count its lesions" in left["remarks"]
    assert not (dataset / "labelsTr" / f"{CASES[2]}.nii.gz").exists()
    assert CASES[2] not in read_case_text(dataset / "case_text.json")
    assert main(["picai", "check", str(dataset), "--jobs", "1"]) == 0


def test_only_lesions_of_significant_grade_count(run: Run, dataset: Path, builder: Builder, tmp_path: Path) -> None:
    edit_marksheet(builder, CASES[2], lesion_ISUP="1,3,0,2", case_ISUP="3")
    assert run("--masks", listed(tmp_path, *CASES[:2]), "--text-cases") == 0
    target = read_case_text(dataset / "case_text.json")[CASES[2]].target
    assert target is not None
    assert target.lesions == 2


def test_a_data_set_is_not_mixed_from_two_choices_of_masks(run: Run, dataset: Path, tmp_path: Path, capsys) -> None:
    assert run("--masks", "3", "--text-cases") == 0
    before = label(dataset, CASES[0])
    assert run("--masks", "3", "--text-cases") == 0
    assert "4 up to date" in capsys.readouterr().out
    assert np.array_equal(label(dataset, CASES[0]), before)
    assert run("--masks", "2") == 1
    assert "masks: 3 cases -> 2 cases; text_cases: True -> None" in capsys.readouterr().err
    assert run("--masks", "2", "--overwrite") == 0
    assert len(list((dataset / "labelsTr").iterdir())) == 2, "nnU-Net would learn from what is left of other masks"
    assert len(list((dataset / "imagesTr").iterdir())) == 6


def test_places_are_those_that_pathology_confirmed(run: Run, dataset: Path, builder: Builder, tmp_path: Path) -> None:
    mapping(builder, {"ProstateX-0000_1": CASES[2], "ProstateX-0001_1": CASES[0], "ProstateX-0002_1": CASES[3]})
    rows_ = ["0000,1,14 14 5,PZ,TRUE", "0000,2,5 5 17,TZ,FALSE", "0001,1,10.75 5 11,AS,TRUE", "0002,1,5 5 5,TZ,FALSE"]
    findings = table(tmp_path / "findings.csv", [f"ProstateX-{row}" for row in rows_])
    more = ("--masks", listed(tmp_path, CASES[1]), "--text-cases", "--prostatex-findings", findings)
    assert run(*more) == 0
    place = {"zone": "peripheral zone", "side": "left", "level": "apex", "depth": "posterior"}
    front = {"level": "mid-gland", "depth": "anterior"}  # zone masks have no anterior stroma
    assert json.loads((dataset / "case_text.json").read_text()) == {
        CASES[0]: {"target": {"lesions": 1, "findings": [front]}},
        CASES[2]: {"target": {"lesions": 1, "findings": [place]}},
        CASES[3]: {"target": {"lesions": 0}},
    }


def test_more_findings_than_lesions_give_no_places(run: Run, dataset: Path, builder: Builder, tmp_path, capsys) -> None:
    mapping(builder, {"ProstateX-0000_1": CASES[2]})
    rows_ = ["ProstateX-0000,1,14 14 5,PZ,TRUE", "ProstateX-0000,2,5 5 17,TZ,TRUE"]
    findings = table(tmp_path / "findings.csv", rows_)
    assert run("--masks", listed(tmp_path, CASES[1]), "--text-cases", "--prostatex-findings", findings) == 0
    assert "2 findings of ProstateX for 1 lesions" in capsys.readouterr().out
    assert json.loads((dataset / "case_text.json").read_text())[CASES[2]] == {"target": {"lesions": 1}}


def test_a_bad_table_is_refused_before_anything_is_written(run: Run, builder: Builder, tmp_path: Path, capsys) -> None:
    mapping(builder, {"ProstateX-0000_1": CASES[2]})
    findings = table(tmp_path / "findings.csv", ["ProstateX-0000,1,14 14,PZ,TRUE"])
    assert run("--masks", "1", "--text-cases", "--prostatex-findings", findings) == 1
    assert "position" in capsys.readouterr().err
    assert not (tmp_path / "raw").exists()


def test_histology_changes_targets_and_no_character_of_the_inputs(
    run: Run, dataset: Path, builder: Builder, tmp_path: Path
) -> None:
    mapping(builder, {f"ProstateX-000{i}_1": case for i, case in enumerate(CASES)})
    made = []
    for verdict, isup in (("TRUE", "3"), ("FALSE", "0")):
        rows_ = [f"ProstateX-000{i},1,14 14 5,PZ,{verdict}" for i in range(len(CASES))]
        findings = table(tmp_path / "findings.csv", rows_)
        for case in CASES[1:]:
            verdicts = {"case_csPCa": "YES" if isup == "3" else "NO", "case_ISUP": isup, "lesion_ISUP": isup}
            edit_marksheet(builder, case, **verdicts, lesion_GS="4+3" if isup == "3" else "")
        more = ("--prostatex-findings", findings, "--case-text", "clinical", "pirads", "findings", "--overwrite")
        assert run("--masks", listed(tmp_path, CASES[0]), "--text-cases", *more) == 0
        made.append(json.loads((dataset / "case_text.json").read_text()))
    positive, negative = made
    assert [positive[case]["target"]["lesions"] for case in CASES[1:]] == [1, 1, 1]
    assert [negative[case]["target"] for case in CASES[1:]] == [{"lesions": 0}] * 3
    inputs = [{case: {key: entry[key] for key in ("findings", "clinical")} for case, entry in texts.items()}
              for texts in made]  # fmt: skip
    assert inputs[0] == inputs[1]
    assert "target" not in positive[CASES[0]], "an outlined case has its lesions in its label"


def test_a_study_without_any_outline_is_no_data_set(builder: Builder, tmp_path: Path) -> None:
    for case in CASES[1:]:
        builder.label_file(EXPERT, case).unlink()
    builder.image_file(CASES[0], "adc").unlink()
    options = PrepareOptions(text_cases=True)
    plan = make_plan(builder.images, builder.labels, tmp_path / "x", options)
    with pytest.raises(DataError, match="No case has an outline"):
        limit_masks(plan, options, None, 0)


def test_data_sets_of_earlier_versions_stay_up_to_date() -> None:
    assert PrepareOptions().fingerprint == "20eec81be3048e8a"
    assert PrepareOptions(masks=("1_1",)).fingerprint != PrepareOptions(text_cases=True).fingerprint


def test_one_real_study_has_its_outline_and_the_other_its_count(shared: Path, tmp_path: Path) -> None:
    positive, negative = "11373_1001396", "10795_1000811"
    real = shared / "data" / "picai_real"
    for kept, other, lesions in ((positive, negative, 0), (negative, positive, 1)):
        folders = ["--images", str(real / "images"), "--labels", str(real / "picai_labels"), "--raw", str(tmp_path)]
        more = ["--masks", str(listed(tmp_path, kept)), "--text-cases", "--classes", "anatomy", "--overwrite"]
        coarse = ["--spacing", "3", "1.5", "1.5", "--matrix-size", "12", "48", "48", "--crop-centre", "gland"]
        assert main(["picai", "prepare", *folders, "-d", "2203", "--jobs", "1", *more, *coarse]) == 0
        made = tmp_path / "Dataset2203_PICAI"
        assert (label(made, other) == 2).all()
        assert set(np.unique(label(made, kept))) == ({0, 1} if kept == positive else {0})
        assert json.loads((made / "case_text.json").read_text()) == {other: {"target": {"lesions": lesions}}}
        (fold,) = [fold for fold in json.loads((made / "splits_final.json").read_text()) if fold["val"]]
        assert fold == {"train": [other], "val": [kept]}
        assert main(["picai", "check", str(made), "--jobs", "1"]) == 0
