"""nnU-Net's own commands as a user types them, each in its own process."""

from __future__ import annotations

import csv
import json
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from tests.datasets import Workspace
from tests.training.conftest import SHORT

TRAINER = "nnUNetTrainerAlignRefine"
ON_CPU = ("-device", "cpu")
# Tiny trainings predict little; an open gate and a refiner that may act everywhere make the text visible in the result.
BLOCK = {"training": SHORT, "schedule": {"refine": 0.5}, "refiner": {"band": 1e9, "max_fraction": 1.0}}


def rows(fold: Path) -> list[dict[str, str]]:
    path = fold / "text_guidance_log.csv"
    return list(csv.DictReader(path.open())) if path.is_file() else []


def kill_in_refine_phase(workspace: Workspace, process: subprocess.Popen[bytes], fold: Path) -> None:
    """kill -9 as soon as an epoch of the refine phase has been logged."""
    deadline = time.monotonic() + 1500  # for hangs only
    try:
        while not any(row["phase"] == "refine" for row in rows(fold)):
            assert process.poll() is None, workspace.log.read_text()[-3000:]
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        workspace.kill(process)


def predict(workspace: Workspace, results: str, out: str, *model: str) -> dict[str, np.ndarray]:
    """What nnUNetv2_predict writes for the test images, with the models in the folder `results`: masks, and foreground
    probabilities, in which models differ that mark the same voxels."""
    images = workspace.root / "raw" / "Dataset901_Tiny" / "imagesTs"
    target = workspace.root / out
    model = model or ("-c", "3d_fullres", "-tr", TRAINER, "-f", "0")
    environment = {**workspace.environment, "nnUNet_results": str(workspace.root / results)}
    options = ["--save_probabilities", "--disable_tta", "-npp", "0", "-nps", "0"]
    arguments = ["-i", str(images), "-o", str(target), "-d", "901", *model, *options]
    workspace.run("nnUNetv2_predict", *arguments, *ON_CPU, environment=environment)
    masks = {p.name: sitk.GetArrayFromImage(sitk.ReadImage(str(p))) for p in sorted(target.glob("*.nii.gz"))}
    return masks | {p.name: np.load(p)["probabilities"] for p in sorted(target.glob("*.npz"))}


@pytest.mark.slow
@pytest.mark.timeout(5400)  # ten commands: two minutes on an idle machine, many more on a busy one
def test_train_kill_continue_validate_predict_export_import(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.edit_plans("3d_fullres", BLOCK)
    model = workspace.root / "results" / "Dataset901_Tiny" / f"{TRAINER}__nnUNetPlans__3d_fullres"
    fold = model / "fold_0"
    arguments = ("901", "3d_fullres", "0", "-tr", TRAINER, *ON_CPU)

    kill_in_refine_phase(workspace, workspace.start("nnUNetv2_train", *arguments), fold)
    before = rows(fold)
    assert not (fold / "checkpoint_final.pth").exists()

    workspace.run("nnUNetv2_train", *arguments, "--c")
    after = rows(fold)
    assert [row["epoch"] for row in after] == [str(e) for e in range(10)]
    assert [row["phase"] for row in after] == ["warm-up"] + ["align"] * 4 + ["refine"] * 5
    # Every epoch that a checkpoint had recorded before the kill stands as it was.
    assert after[: len(before) - 1] == before[:-1]
    assert all(float(row["gate_fraction"]) > 0 for row in after)
    assert float(after[-1]["mean_change"]) != 0
    assert all(np.isfinite(float(row[key])) for row in after for key in ("loss_seg", "loss_align", "loss_heat"))

    plans = json.loads((model / "plans.json").read_text())
    checkpoint = torch.load(fold / "checkpoint_final.pth", map_location="cpu", weights_only=False)
    resolved = plans["configurations"]["3d_fullres"]["text_guidance"]
    assert checkpoint["init_args"]["plans"]["configurations"]["3d_fullres"]["text_guidance"] == resolved
    assert resolved["text"]["resolved"]["labels"] == ["csPCa"]
    assert float(checkpoint["network_weights"]["refiner.alpha"]) == 1
    assert (fold / "training_intensities.json").is_file()

    workspace.run("nnUNetv2_train", *arguments, "--val", "--npz")
    assert "foreground_mean" in json.loads((fold / "validation" / "summary.json").read_text())
    workspace.run(
        "nnUNetv2_find_best_configuration", *("901", "-c", "3d_fullres", "-tr", TRAINER, "-f", "0", "-np", "1")
    )

    predicted = predict(workspace, "results", "predictions")
    assert sorted(predicted) == ["case_005.nii.gz", "case_005.npz"]
    assert predicted["case_005.npz"][1].std() > 1e-3, "a map without contrast would prove nothing below"
    archive = workspace.root / "model.zip"
    workspace.run(
        "nnUNetv2_export_model_to_zip",
        *("-d", "901", "-o", str(archive), "-c", "3d_fullres", "-f", "0", "-tr", TRAINER, "--not_strict"),
    )
    elsewhere = {**workspace.environment, "nnUNet_results": str(workspace.root / "elsewhere")}
    workspace.run("nnUNetv2_install_pretrained_model_from_zip", str(archive), environment=elsewhere)
    again = predict(workspace, "elsewhere", "predictions_again")
    assert predicted.keys() == again.keys()
    assert all(np.array_equal(predicted[name], again[name]) for name in predicted)
    monkeypatch.setenv("nnUNet_extTrainer", workspace.environment["nnUNet_extTrainer"])
    text_reaches_the_prediction(model)


def text_reaches_the_prediction(model: Path) -> None:
    """In the trained model, other embeddings change logits; alpha 0 changes them, and only inside the gate."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(model), (0,))
    net, x = predictor.network.eval(), torch.randn(1, 3, 8, 32, 32)
    with torch.no_grad():
        logits, gate = net(x), net.explain(x).gate
        trained = net.text_embeddings.clone()
        net.set_text(trained.flip(0))
        assert not torch.equal(net(x), logits)
        net.set_text(trained)
        net.refiner.alpha.zero_()
        changed = (net(x) != logits).any(dim=1, keepdim=True)
    assert changed.any()
    assert not (changed & ~gate).any()


@pytest.mark.slow
@pytest.mark.parametrize(("plans", "configuration"), [("nnUNetResEncUNetMPlans", "3d_fullres"), ("nnUNetPlans", "2d")])
@pytest.mark.timeout(3600)
def test_other_plans_and_configurations_train_validate_and_predict(
    workspace: Workspace, plans: str, configuration: str
) -> None:
    trainer = f"{TRAINER}_1epoch"
    workspace.edit_plans(configuration, {"training": SHORT}, plans=plans)
    raw, hidden = workspace.root / "raw", workspace.root / "hidden"
    raw.rename(hidden)  # training needs none of it
    workspace.run("nnUNetv2_train", "901", configuration, "1", "-tr", trainer, "-p", plans, *ON_CPU)
    model = workspace.root / "results" / "Dataset901_Tiny" / f"{trainer}__{plans}__{configuration}"
    assert (model / "fold_1" / "validation" / "summary.json").is_file()
    hidden.rename(raw)
    chosen = ("-c", configuration, "-tr", trainer, "-p", plans, "-f", "1")
    predicted = predict(workspace, "results", "predictions", *chosen)
    assert predicted["case_005.nii.gz"].shape == (8, 32, 32)
    workspace.run("nnUNetv2_export_model_to_zip", "-d", "901", "-o", "model.zip", *chosen, "--not_strict")
    elsewhere = {**workspace.environment, "nnUNet_results": str(workspace.root / "elsewhere")}
    workspace.run("nnUNetv2_install_pretrained_model_from_zip", "model.zip", environment=elsewhere)
    again = predict(workspace, "elsewhere", "predictions_again", *chosen)
    assert all(np.array_equal(predicted[name], again[name]) for name in predicted)


@pytest.mark.slow
def test_a_misspelt_setting_stops_the_training_with_the_correction(workspace: Workspace) -> None:
    workspace.edit_plans("3d_fullres", {"refiner": {"tauu": 0.5}})
    output = workspace.run("nnUNetv2_train", "901", "3d_fullres", "0", "-tr", TRAINER, *ON_CPU, check=False)
    assert "refiner.tauu: unknown key; did you mean 'tau'?" in output
    assert not (workspace.root / "results" / "Dataset901_Tiny").exists()
