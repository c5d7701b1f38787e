"""The refiner switched off in trained networks as a row of the PI-CAI table, and a kill in a training."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nnunetv2_textguided.benchmark.cells import FINAL, LATEST, is_whole, networks_of
from nnunetv2_textguided.benchmark.progress import ProgressReader
from nnunetv2_textguided.benchmark.record import read_record
from nnunetv2_textguided.benchmark.refiner_off import is_switched_off, write_refiner_off
from nnunetv2_textguided.benchmark.rows import PLANS, choose_rows
from nnunetv2_textguided.cli import main
from nnunetv2_textguided.commands.parser import PROGRAM
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.inference.loading import load_predictor
from nnunetv2_textguided.inference.options import ModelOptions
from nnunetv2_textguided.nnunet.checkpoints import read_checkpoint
from tests.benchmark.processes import wait_for
from tests.benchmark.real_archive import DATASET, Real
from tests.inference.models import make_model

OFF = f"{PLANS}_refiner_off"
METHOD = "nnUNetTrainerAlignRefine__{}__3d_fullres"


@pytest.fixture
def real(tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch) -> Real:
    return Real(tmp_path / "work", shared, monkeypatch)


def test_the_row_goes_with_the_one_whose_networks_it_has() -> None:
    assert [row.name for row in choose_rows(["refiner_off", "default"])] == ["default", "refiner_off"]
    with pytest.raises(DataError, match="has the trained networks of default") as error:
        choose_rows(["refiner_off", "no_text"])
    assert "Choose default, too" in str(error.value)


def test_nothing_but_the_refiner_s_strength_is_changed(tmp_path: Path) -> None:
    trained = make_model(tmp_path / "trained", steps=3).folder / "fold_0" / FINAL
    target = tmp_path / OFF / "fold_0" / FINAL
    summary = target.parent / "validation" / "summary.json"
    summary.parent.mkdir(parents=True)
    summary.write_text("{}")
    write_refiner_off(trained, target, OFF, "3d_fullres")
    assert is_switched_off(trained, target)
    assert not summary.exists(), "of earlier networks"
    assert networks_of(target.parent) == networks_of(trained.parent) == "trained"
    before, after = read_checkpoint(trained), read_checkpoint(target)
    assert float(before["network_weights"]["refiner.alpha"]) > 0
    assert float(after["network_weights"]["refiner.alpha"]) == 0
    same = before["network_weights"].keys() - {"refiner.alpha"}
    assert all(torch.equal(before["network_weights"][name], after["network_weights"][name]) for name in same)
    plans = after["init_args"]["plans"]
    assert plans["plans_name"] == OFF
    block = plans["configurations"]["3d_fullres"]["text_guidance"]["refiner"]
    old = before["init_args"]["plans"]["configurations"]["3d_fullres"]["text_guidance"]["refiner"]
    assert block == {**old, "alpha": 0.0}
    os.utime(trained, (trained.stat().st_mtime + 10,) * 2)
    assert not is_switched_off(trained, target), "trained again"


def test_a_network_without_refiner_is_an_error(tmp_path: Path) -> None:
    plain = make_model(tmp_path / "plain", fixed={"components": ["alignment", "heatmap"]}).folder / "fold_0" / FINAL
    with pytest.raises(DataError, match="no refiner to switch off"):
        write_refiner_off(plain, tmp_path / FINAL, OFF, "3d_fullres")
    assert not (tmp_path / FINAL).exists()


def probabilities(folder: Path) -> np.ndarray:
    (file,) = (folder / "validation").glob("*.npz")
    return np.asarray(np.load(file)["probabilities"])


def make_tiny(plans: Path) -> None:
    """A network that a CPU trains in seconds; the rows' plans follow the method's."""
    content: dict[str, Any] = json.loads(plans.read_text())
    kwargs = content["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    kwargs["features_per_stage"] = [8] * kwargs["n_stages"]
    plans.write_text(json.dumps(content))


def divide(splits: Path) -> None:
    """One study to train on in the first fold, and one to validate: the official folds have both in one part."""
    folds = json.loads(splits.read_text())
    first, second = sorted({case for fold in folds for part in fold.values() for case in part})
    splits.write_text(json.dumps([{"train": [first], "val": [second]}, *folds[1:]]))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_while_training_it_goes_on_and_then_switches_the_refiner_off(
    real: Real, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["--rows", "default", "refiner_off"]
    real.begin(*rows)
    assert main([*real.words, *rows, "--until", "plan"]) == 0
    make_tiny(real.root / "preprocessed" / DATASET / f"{PLANS}.json")
    divide(real.root / "preprocessed" / DATASET / "splits_final.json")
    assert main([*real.words, *rows, "--until", "rows"]) == 0
    trained, off = (real.root / "results" / DATASET / METHOD.format(plans) / "fold_0" for plans in (PLANS, OFF))
    process = real.start(PROGRAM, *real.words, *rows, "--until", "validate")
    wait_for(lambda: is_whole(trained / LATEST) or process.poll() is not None, seconds=900)
    assert process.poll() is None, real.log.read_text()
    real.kill(process)
    assert ProgressReader().read(trained).epochs >= 1
    assert not (trained / FINAL).exists()
    assert not off.exists(), "nothing is trained for it"
    before = real.files()
    capsys.readouterr()
    assert main([*real.words, *rows, "--until", "validate"]) == 0
    printed = capsys.readouterr().out
    assert all(
        f"{step}: done" in printed for step in ("prepare", "fingerprint", "plan", "preprocess", "anatomy", "rows")
    )
    assert all(f"{step}: $ " in printed for step in ("run", "switch_off", "validate"))
    assert real.files() == before
    attempts = (read_record(trained) or {})["attempts"]
    assert attempts[0]["outcome"] == "worker lost"
    assert attempts[-1]["outcome"] == "finished"
    assert attempts[-1]["command"].endswith("--npz --c")
    assert attempts[-1]["from_epoch"] >= 1
    assert [attempt["command"].endswith("--npz --val") for attempt in (read_record(off) or {})["attempts"]] == [True]
    assert main([*real.words, *rows, "--until", "validate"]) == 0
    assert "$" not in capsys.readouterr().out, "nothing is done twice"
    assert probabilities(trained).shape == probabilities(off).shape
    loaded = load_predictor(ModelOptions(trained.parent, (0,)))
    loaded.switch_off_refiner()
    assert all(
        torch.equal(value, read_checkpoint(off / FINAL)["network_weights"][name])
        for name, value in loaded.list_of_parameters[0].items()
    )
