"""Folds that do not fit the data set are named before any work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nnunetv2_textguided.errors import DataError, TrainingError
from nnunetv2_textguided.nnunet.raw import training_cases
from nnunetv2_textguided.nnunet.splits import check_folds

CASES = [f"case_{number}" for number in range(6)]


def write(folder: Path, *folds: dict[str, list[str]]) -> Path:
    path = folder / "splits_final.json"
    path.write_text(json.dumps(folds))
    return path


GOOD = {"train": CASES[:4], "val": CASES[4:]}


@pytest.mark.parametrize(
    ("fold", "messages"),
    [
        (
            {"train": [f"{case}.nii.gz" for case in CASES[:4]], "val": CASES[4:]},
            ["Fold 1 names case_0.nii.gz, case_1.nii.gz", "without file ending"],
        ),
        ({"train": CASES[:4], "val": ["case_9"]}, ["Fold 1 names case_9, which the data set does not have"]),
        ({"train": CASES[:5], "val": CASES[4:]}, ["Fold 1 trains and validates case_4."]),
        ({"train": [*CASES[:4], "case_1"], "val": CASES[4:]}, ["Fold 1 names case_1 twice"]),
        ({"train": [], "val": CASES}, ["Fold 1 has no training cases"]),
    ],
)
def test_a_fold_that_does_not_fit_is_named(tmp_path: Path, fold: dict[str, list[str]], messages: list[str]) -> None:
    path = write(tmp_path, GOOD, fold)
    for folds in (None, {1}):
        with pytest.raises(TrainingError) as caught:
            check_folds(path, CASES, folds, TrainingError)
        assert all(message in str(caught.value) for message in messages)
        assert str(path) in str(caught.value)
    assert check_folds(path, CASES, {0}) == [GOOD, fold]


def test_nnunets_own_training_may_validate_what_it_trains_on(tmp_path: Path) -> None:
    both = {"train": CASES[:5], "val": CASES[4:]}
    assert check_folds(write(tmp_path, both), CASES, {0}, TrainingError, may_overlap=True) == [both]


@pytest.mark.parametrize("content", [[], {}, None, [{"train": CASES}], [{"train": [1], "val": []}], [CASES]])
def test_what_holds_no_folds_is_refused(tmp_path: Path, content: Any) -> None:
    (tmp_path / "splits_final.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="does not hold folds"):
        check_folds(tmp_path / "splits_final.json", CASES)


def test_a_mark_at_the_start_is_told_before_nnunet_fails_on_it(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    assert check_folds(path, CASES) == [GOOD]
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    with pytest.raises(DataError, match=r"(?s)byte order mark.*without the mark"):
        check_folds(path, CASES)


def test_cases_of_a_raw_data_set_are_no_companion_files(tmp_path: Path) -> None:
    (tmp_path / "labelsTr").mkdir()
    for name in ("a.nii.gz", "._a.nii.gz", "b.nii.gz", "notes.txt"):
        (tmp_path / "labelsTr" / name).touch()
    assert training_cases(tmp_path, {"file_ending": ".nii.gz"}) == {"a", "b"}
    assert training_cases(tmp_path, {"file_ending": ".nii.gz", "dataset": {"x": {}}}) == {"x"}
