"""The label side on all 1500 public studies: sources, folds, marksheet rules, from the complete label set's index."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from nnunetv2_textguided.cli import main
from nnunetv2_textguided.nnunet.splits import restrict
from nnunetv2_textguided.picai.contradictions import contradiction, grade_mismatch
from nnunetv2_textguided.picai.folds import leaks, official_folds, validation_fold
from nnunetv2_textguided.picai.label_sources import LesionSource
from nnunetv2_textguided.picai.options import PrepareOptions
from nnunetv2_textguided.picai.plan import Plan, make_plan

from .archive_builder import EXPERT, POOCH


@pytest.fixture(scope="module")
def index(shared: Path) -> list[dict]:
    return json.loads((shared / "data" / "picai_index" / "studies.json").read_text())


@pytest.fixture(scope="module")
def complete(index: list[dict], shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The complete archive's names, without voxels, and its real marksheet."""
    root = tmp_path_factory.mktemp("complete")
    for folder in (EXPERT, POOCH):
        (root / "picai_labels" / folder).mkdir(parents=True)
    for study in index:
        folder = root / "images" / study["patient_id"]
        folder.mkdir(parents=True, exist_ok=True)
        for modality in ("t2w", "adc", "hbv"):
            (folder / f"{study['id']}_{modality}.mha").touch()
        if study["has_human"]:
            (root / "picai_labels" / EXPERT / f"{study['id']}.nii.gz").touch()
        if study["has_pooch"]:
            (root / "picai_labels" / POOCH / f"{study['id']}.nii.gz").touch()
    clinical = root / "picai_labels" / "clinical_information"
    clinical.mkdir()
    shutil.copy(shared / "data" / "picai_index" / "marksheet.csv", clinical)
    return root


def plan(root: Path, options: PrepareOptions) -> Plan:
    return make_plan(root / "images", root / "picai_labels", root / "raw", options)


def test_every_study_gets_a_human_mask(complete: Path) -> None:
    made = plan(complete, PrepareOptions())
    assert (len(made.jobs), made.skipped, made.failed, made.absent) == (1500, {}, {}, ())
    sources = Counter((job.source, job.cspca) for job in made.jobs.values())
    assert sources == {
        (LesionSource.EXPERT, False): 1075,
        (LesionSource.EXPERT, True): 220,
        (LesionSource.POOCH25, True): 205,
    }
    assert "1500 studies of 1476 patients to prepare, 425 with csPCa" in made.describe()
    assert "300/298/302/304/296" in made.describe()


def test_the_1295_are_those_that_the_challenge_delineated(complete: Path) -> None:
    made = plan(complete, PrepareOptions(folds="1295"))
    assert len(made.jobs) == 1295
    assert {job.source for job in made.jobs.values()} == {LesionSource.EXPERT}
    assert set(made.skipped.values()) == {"not in the official folds of 1295 studies"}
    assert "260/264/254/265/252" in made.describe()


def test_without_pooch25_its_studies_are_skipped_with_the_reason(complete: Path, tmp_path: Path) -> None:
    labels = tmp_path / "picai_labels"
    shutil.copytree(complete / "picai_labels", labels, ignore=shutil.ignore_patterns("Pooch25"))
    made = make_plan(complete / "images", labels, tmp_path / "raw", PrepareOptions())
    assert len(made.skipped) == 205
    assert all("update picai_labels for Pooch25" in reason for reason in made.skipped.values())


def test_marksheet_and_masks_agree_in_all_studies_with_an_experts_mask(complete: Path, index: list[dict]) -> None:
    rows = plan(complete, PrepareOptions()).rows
    conflicts, grades = [], []
    for study in (s for s in index if s["has_human"]):
        values = frozenset(int(v) for v in study["l_vals"])
        row = rows[study["id"]]
        assert values <= LesionSource.EXPERT.values
        conflicts.append(contradiction(cspca=row.cspca, has_lesion=bool(values)))
        grades.append(grade_mismatch(values, row.isup))
    assert len(conflicts) == 1295
    assert set(conflicts) == {None}
    assert set(grades) == {None}


@pytest.mark.parametrize(
    ("version", "sizes"), [("1500", (300, 298, 302, 304, 296)), ("1295", (260, 264, 254, 265, 252))]
)
def test_the_official_folds_are_disjoint_by_patient_and_cover_every_case_once(version: str, sizes: tuple) -> None:
    splits = official_folds(version)
    assert tuple(len(fold["val"]) for fold in splits) == sizes
    assert leaks(splits) == []
    assert len(validation_fold(splits)) == int(version) == sum(sizes)
    assert {len(fold["train"]) + len(fold["val"]) for fold in splits} == {int(version)}


def test_leaks_name_patient_fold_and_both_cases() -> None:
    splits = [{"train": ["1_1", "2_2"], "val": ["1_3"]}, {"train": ["2_2"], "val": ["1_3"]}]
    assert leaks(splits) == [
        "fold 0: patient 1 is in training (1_1) and validation (1_3)",
        "case 1_3 is validated in folds 0 and 1",
    ]
    assert leaks(splits[:1], {"1_1": "a", "2_2": "b", "1_3": "c"}) == []
    assert restrict(splits, ["2_2"]) == [{"train": ["2_2"], "val": []}, {"train": ["2_2"], "val": []}]


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(complete: Path, tmp_path: Path, capsys) -> None:
    arguments = ["picai", "prepare", "--images", str(complete / "images"), "-d", "2203", "--raw", str(tmp_path)]
    assert main([*arguments, "--labels", str(complete / "picai_labels"), "--dry-run"]) == 0
    assert "lesion masks: Pooch25 205, human_expert 1295" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
