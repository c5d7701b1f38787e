"""A variant that is trained several times: names that stock nnU-Net reads, and that lead back to the variant."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnunetv2_textguided.benchmark.progress import ProgressReader
from nnunetv2_textguided.benchmark.repeats import repeated
from nnunetv2_textguided.benchmark.study import Cell, Study, find_repeats
from nnunetv2_textguided.nnunet.variant import Variant, repeat_plans, split_repeat

VARIANT = Variant("nnUNetTrainer", "nnUNetPlans", "3d_fullres")


@pytest.mark.parametrize(
    ("repeat", "name"), [(1, "nnUNetPlans"), (2, "nnUNetPlans_repeat2"), (12, "nnUNetPlans_repeat12")]
)
def test_a_repeats_plans_name_leads_back(repeat: int, name: str) -> None:
    assert repeat_plans("nnUNetPlans", repeat) == name
    assert split_repeat(name) == ("nnUNetPlans", repeat)
    assert split_repeat(VARIANT.repeated(repeat).plans) == (VARIANT.plans, repeat)


@pytest.mark.parametrize("name", ["nnUNetPlans", "nnUNetPlans_repeat", "nnUNetPlans_repeat1", "nnUNetPlans_repeat02"])
def test_other_plans_names_are_a_first_repeat(name: str) -> None:
    assert split_repeat(name) == (name, 1)


def test_a_study_has_every_fold_once_before_any_twice(tmp_path: Path) -> None:
    study = Study("Dataset001_X", "3d_fullres", ("A", "B"), folds=(0, 1), repeats=2)
    assert [(c.repeat, c.fold, c.variant.trainer) for c in study.cells()] == [
        (repeat, fold, trainer) for repeat in (1, 2) for fold in (0, 1) for trainer in ("A", "B")
    ]
    last = list(study.cells())[-1]
    assert last == Cell(Variant("B", "nnUNetPlans", "3d_fullres"), 1, 2)
    assert last.folder(tmp_path, study.dataset) == tmp_path / "Dataset001_X/B__nnUNetPlans_repeat2__3d_fullres/fold_1"


def test_repeats_are_found_by_their_folders(tmp_path: Path) -> None:
    for name in ("nnUNetPlans", "nnUNetPlans_repeat3", "nnUNetPlans_other", "nnUNetPlans_other_repeat2"):
        (tmp_path / f"nnUNetTrainer__{name}__3d_fullres" / "fold_0").mkdir(parents=True)
    (tmp_path / "nnUNetTrainer__nnUNetPlans_repeat2__3d_fullres").mkdir()
    assert find_repeats(tmp_path, VARIANT) == (1, 3)


def test_a_repeat_has_a_seed_of_its_own_where_the_plans_have_one() -> None:
    plans = {"plans_name": "P", "configurations": {"a": {"text_guidance": {"training": {"seed": 7}}}, "b": {}}}
    copy = repeated(plans, "P_repeat3")
    assert copy["configurations"]["a"]["text_guidance"]["training"]["seed"] == 9
    assert (copy["plans_name"], copy["configurations"]["b"]) == ("P_repeat3", {})
    assert plans["configurations"]["a"] == {"text_guidance": {"training": {"seed": 7}}}, "the original stays"
    without = {"plans_name": "P", "configurations": {"a": {"text_guidance": {"training": {"epochs": 2}}}}}
    assert repeated(without, "P_repeat2") == {**without, "plans_name": "P_repeat2"}


def test_the_seed_is_read_from_the_training_log(tmp_path: Path) -> None:
    log = "2026-01-01 10:00:00.000001: Seed of this process: 123 \n2026-01-01 10:00:01.000001: Epoch 0 \n"
    (tmp_path / "training_log_2026_1_1_10_00_00.txt").write_text(log)
    assert ProgressReader().read(tmp_path).seed == 123
