"""A variant that is trained several times: names that stock nnU-Net reads, and that lead back to the variant."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnunetv2_textguided.benchmark.study import Cell, Study, find_repeats
from nnunetv2_textguided.nnunet.variant import Variant, repeat_plans, split_repeat, variant_and_repeat

VARIANT = Variant("nnUNetTrainer", "nnUNetPlans", "3d_fullres")


@pytest.mark.parametrize(
    ("repeat", "name"), [(1, "nnUNetPlans"), (2, "nnUNetPlans_repeat2"), (12, "nnUNetPlans_repeat12")]
)
def test_a_repeats_plans_name_leads_back(repeat: int, name: str) -> None:
    assert repeat_plans("nnUNetPlans", repeat) == name
    assert split_repeat(name) == ("nnUNetPlans", repeat)
    assert variant_and_repeat(VARIANT.repeated(repeat)) == (VARIANT, repeat)


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
