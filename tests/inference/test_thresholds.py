"""A fitted threshold: made from a model's validation, kept with where it comes from, applied, refused where unfit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from nnunetv2_textguided.cli import main
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.inference.options import ModelOptions
from nnunetv2_textguided.inference.run import Summary
from nnunetv2_textguided.inference.thresholds import FILE, read_thresholds, resolve_thresholds, shift_logits
from tests.inference.conftest import read

Predict = Callable[..., Summary]


@pytest.fixture
def fitted(validated: tuple[Path, Path, Path]) -> Path:
    """A model folder with a threshold."""
    folder, labels, _ = validated
    assert main(["threshold", "-m", str(folder), "--labels", str(labels), "--jobs", "1", "--price", "0.05"]) == 0
    return folder


def test_the_file_says_what_was_fitted_on_what(
    fitted: Path, validated: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads((fitted / FILE).read_text())
    (name,) = content["labels"]
    entry = content["labels"][name]
    assert (entry["cases"], entry["positives"], content["price"]) == (60, 30, 0.05)
    assert content["cases_by_fold"] == {"0": 30, "1": 30}
    assert set(content["weights_sha256"]) == {"0", "1"} == set(entry["threshold_by_fold"])
    curve = entry["curve"]
    best = curve["threshold"].index(entry["threshold"])
    assert curve["utility"][best] == max(curve["utility"])
    assert curve["utility"][best] == pytest.approx(curve["dice"][best] - 0.05 * curve["false_ml"][best])
    assert entry["threshold"] < 0.5, "half of the lesions have low probabilities"
    assert entry["across_folds"]["dice"] > entry["across_folds"]["dice_at_half"]
    words = ["threshold", "-m", str(fitted), "--labels", str(validated[1]), "--jobs", "1", "-f", "0", "1"]
    assert main([*words, "--price", "0.05"]) == 0
    assert f"{name}: {entry['threshold']:g} (30 of 60 cases have it)" in capsys.readouterr().out
    assert json.loads((fitted / FILE).read_text()) == content
    assert read_thresholds(ModelOptions(fitted, (0, 1))) == {name: entry["threshold"]}


@pytest.mark.parametrize("asked", ["fitted", "0.2", "0.9"])
def test_masks_are_cut_there_and_probabilities_stay(predict: Predict, fitted: Path, tmp_path: Path, asked: str) -> None:
    predict(trained=fitted, threshold=asked, probabilities=True)
    record = json.loads((tmp_path / "out" / "cases" / "ball_0.json").read_text())
    ((name, value),) = record["thresholds"].items()
    assert value == (json.loads((fitted / FILE).read_text())["labels"][name]["threshold"] if asked == "fitted"
                     else float(asked))  # fmt: skip
    predict(trained=fitted, folder=tmp_path / "stock", probabilities=True)
    changed = 0
    for case in ("ball_0", "none_1"):
        probability = np.load(tmp_path / "out" / f"{case}.npz")["probabilities"]
        assert np.array_equal(probability, np.load(tmp_path / "stock" / f"{case}.npz")["probabilities"])
        mask, stock = (read(tmp_path / folder / f"{case}.nii.gz") for folder in ("out", "stock"))
        sure = np.abs(probability[1] - value) > 1e-5
        assert np.array_equal(mask[sure] == 1, (probability[1] > value)[sure])
        changed += int((mask != stock).sum())
    assert changed > 0


def test_what_was_not_fitted_or_fitted_with_other_weights_is_an_error(fitted: Path, tmp_path: Path) -> None:
    model = ModelOptions(fitted, (0, 1))
    for asked in ("0", "1", "nan", "half"):
        with pytest.raises(DataError, match="is no threshold"):
            resolve_thresholds(asked, model, ["csPCa"])
    assert resolve_thresholds(None, model, ["csPCa"]) == {}
    for fold in ("fold_0", "fold_1"):
        trained_on(fitted / fold / "checkpoint_final.pth", fitted / fold / "checkpoint_best.pth")
    with pytest.raises(DataError, match="belongs to other checkpoints"):
        read_thresholds(ModelOptions(fitted, (0, 1), "checkpoint_best.pth"))
    checkpoint = fitted / "fold_1" / "checkpoint_final.pth"
    trained_on(checkpoint, checkpoint)
    with pytest.raises(DataError, match="belongs to other checkpoints"):
        read_thresholds(model)
    assert read_thresholds(ModelOptions(fitted, (0,)))
    (fitted / FILE).write_text('{"version": 1, "labels": {"csPCa": {"threshold": 2}}}')
    with pytest.raises(DataError, match="does not describe thresholds"):
        read_thresholds(model)
    (fitted / FILE).unlink()
    with pytest.raises(DataError, match="No threshold was fitted for this model") as raised:
        read_thresholds(model)
    assert f"nnUNetv2_textguided threshold -m {fitted}" in str(raised.value)


def trained_on(checkpoint: Path, target: Path) -> None:
    """Write a checkpoint one of whose weights differs in its last bit."""
    content = torch.load(checkpoint, weights_only=True)
    weight = next(value for value in content["network_weights"].values() if value.is_floating_point())
    weight.view(-1)[:1] = torch.nextafter(weight.view(-1)[:1], torch.tensor(torch.inf))
    torch.save(content, target)


@pytest.mark.parametrize("checkpoint", ["checkpoint_final.pth", "checkpoint_best.pth"])
def test_a_fitted_threshold_belongs_to_the_weights_wherever_they_are_installed(
    validated: tuple[Path, Path, Path], predict: Predict, tmp_path: Path, checkpoint: str
) -> None:
    folder, labels, _ = validated
    for fold in ("fold_0", "fold_1"):
        (folder / fold / "checkpoint_final.pth").rename(folder / fold / checkpoint)
    words = ["threshold", "-m", str(folder), "--labels", str(labels), "--jobs", "1", "-chk", checkpoint]
    assert main([*words, "--price", "0.05"]) == 0
    licence = ["--data-licence", "CC BY 4.0"]
    assert main(["export-model", "-m", str(folder), "-o", str(tmp_path / "e"), "-chk", checkpoint, *licence]) == 0
    assert main(["install-model", str(tmp_path / "e"), "--results", str(tmp_path / "results")]) == 0
    installed = tmp_path / "results" / folder.parent.name / folder.name
    predict(trained=installed, folds=(0, 1), threshold="fitted")
    value = next(iter(json.loads((folder / FILE).read_text())["labels"].values()))["threshold"]
    record = json.loads((tmp_path / "out" / "cases" / "ball_0.json").read_text())
    assert list(record["thresholds"].values()) == [value]
    trained_on(installed / "fold_1" / "checkpoint_final.pth", installed / "fold_1" / "checkpoint_final.pth")
    with pytest.raises(DataError, match="belongs to other checkpoints"):
        predict(trained=installed, folder=tmp_path / "other", folds=(0, 1), threshold="fitted")


def test_a_fold_without_validation_is_an_error(
    validated: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, labels, _ = validated
    command = ["threshold", "-m", str(folder), "--labels", str(labels), "--jobs", "1", "-f"]
    assert main([*command, "0", "3"]) == 1
    assert "Fold 3 was not validated" in capsys.readouterr().err
    assert main([*command, "1"]) == 1
    assert "at least two have to be trained and validated" in capsys.readouterr().err
    assert main([*command, "0", "1", "-chk", "checkpoint_best.pth"]) == 1
    assert "The checkpoint that was validated is not there" in capsys.readouterr().err
    assert not (folder / FILE).exists()


def test_shifted_logits_of_one_class_mark_what_exceeds_the_threshold_and_of_several_the_best_beside_it() -> None:
    logits = np.random.default_rng(0).normal(0, 2, (2, 4000)).astype(np.float32)
    probability = torch.softmax(torch.from_numpy(logits), 0).numpy()[1]
    for threshold in (0.05, 0.5, 0.9):
        assert np.array_equal(shift_logits(logits, {1: threshold}).argmax(0) == 1, probability > threshold)
    several = np.random.default_rng(1).normal(0, 2, (3, 4000)).astype(np.float32)
    assert np.array_equal(shift_logits(several, {1: 0.5, 2: 0.5}), several)
    chances = torch.softmax(torch.from_numpy(several), 0).numpy()
    weighed = chances / np.array([[1], [0.2 / 0.8], [0.6 / 0.4]])
    assert np.array_equal(shift_logits(several, {1: 0.2, 2: 0.6}).argmax(0), weighed.argmax(0))
    region = torch.sigmoid(torch.from_numpy(shift_logits(logits, {0: 0.3}))).numpy()[0]
    assert np.array_equal(region > 0.5, torch.sigmoid(torch.from_numpy(logits)).numpy()[0] > 0.3)
