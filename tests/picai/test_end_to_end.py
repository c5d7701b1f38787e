"""The two real studies the whole way: prepare, check, plan, preprocess, train, predict, evaluate."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from nnunetv2_textguided.cli import main

NAME = "Dataset2203_PICAI"
SHORT = {"training": {"epochs": 4, "iterations_per_epoch": 4, "val_iterations_per_epoch": 1}}
# Coarse and small, so that each step takes seconds; the lesion of 0.31 mL survives it.
COARSE = ["--spacing", "3", "1.5", "1.5", "--matrix-size", "12", "48", "48", "--crop-centre", "gland"]


def plan(folders: Path) -> dict[str, Any]:
    """Plan and preprocess with nnU-Net's classes in this process; returns the plans."""
    from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    extractor = DatasetFingerprintExtractor(NAME, num_processes=1)
    extractor.num_foreground_voxels_for_intensitystats = 1e4
    extractor.run()
    ExperimentPlanner(NAME).plan_experiment()
    target = folders / "preprocessed" / NAME
    plans = json.loads((target / "nnUNetPlans.json").read_text())
    chosen = plans["configurations"]["3d_fullres"]
    kwargs = chosen["architecture"]["arch_kwargs"]
    kwargs["features_per_stage"] = [min(4 * 2**stage, 16) for stage in range(kwargs["n_stages"])]
    chosen["text_guidance"] = SHORT
    configuration = PlansManager(plans).get_configuration("3d_fullres")
    (target / configuration.data_identifier).mkdir()
    (target / "gt_segmentations").mkdir()
    (target / "dataset.json").write_text((folders / "raw" / NAME / "dataset.json").read_text())
    for case, files in extractor.dataset.items():
        (target / "gt_segmentations" / f"{case}.nii.gz").write_bytes(Path(files["label"]).read_bytes())
        DefaultPreprocessor(verbose=False).run_case_save(
            str(target / configuration.data_identifier / case), files["images"], files["label"], PlansManager(plans),
            configuration, extractor.dataset_json,
        )  # fmt: skip
    return plans


def train(plans: dict[str, Any], description: dict[str, Any]) -> Path:
    """Train on both studies; returns the model folder."""
    import torch

    from nnunetv2_textguided.training import nnUNetTrainerAlignRefine

    torch.set_num_threads(1)
    plans = {**plans, "continue_training": False}
    trainer = nnUNetTrainerAlignRefine(plans, "3d_fullres", "all", description, torch.device("cpu"))
    trainer.run_training()
    return Path(trainer.output_folder_base)


def predict(model: Path, images: Path, out: Path) -> None:
    """What `nnUNetv2_predict --save_probabilities` writes."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(model), ("all",))
    out.mkdir()
    predictor.predict_from_files_sequential(str(images), str(out), save_probabilities=True)


@pytest.mark.slow
def test_two_real_studies_go_the_whole_way(shared: Path, nnunet_folders: Path, monkeypatch, capsys) -> None:
    from nnunetv2_textguided.files import shipped

    monkeypatch.setenv("nnUNet_n_proc_DA", "1")
    monkeypatch.setenv("nnUNet_compile", "f")
    monkeypatch.setenv("nnUNet_extTrainer", str(shipped("trainers")))
    archive = shared / "data" / "picai_real"
    sources = ["--images", str(archive / "images"), "--labels", str(archive / "picai_labels")]
    assert main(["picai", "prepare", *sources, "-d", "2203", "--classes", "zones", *COARSE, "--jobs", "1"]) == 0
    dataset = nnunet_folders / "raw" / NAME
    assert main(["picai", "check", str(dataset), "--jobs", "1"]) == 0

    plans = plan(nnunet_folders)
    schemes = plans["configurations"]["3d_fullres"]["normalization_schemes"]
    assert schemes == ["ZScoreNormalization", "CTNormalization", "ZScoreNormalization"]
    copied = nnunet_folders / "preprocessed" / NAME / "splits_final.json"
    assert copied.read_text() == (dataset / "splits_final.json").read_text(), "planning takes the official folds"
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")  # load batches in this process; planning does not accept a 0
    model = train(plans, json.loads((dataset / "dataset.json").read_text()))
    predictions = nnunet_folders / "predictions"
    predict(model, dataset / "imagesTr", predictions)

    capsys.readouterr()
    arguments = ["--predictions", str(predictions), "--labels", str(dataset / "labelsTr"), "--jobs", "1"]
    assert main(["picai", "evaluate", *arguments, "--bootstrap", "100"]) == 0
    text = capsys.readouterr().out
    assert "csPCa: label values [3] by " in text
    assert "2 cases, 1 with csPCa, 1 lesions" in text
    assert "predictions: 2 x nnU-Net probabilities (.npz)" in text
    found = json.loads((predictions / "picai_evaluation" / "evaluation.json").read_text())
    assert found["detection"]["auroc"]["value"] in (0, 0.5, 1)
    assert found["overlap"]["dice"]["cases"] == 1
    assert not multiprocessing.active_children()
