"""A tiny data set under the name that the documentation uses, planned and preprocessed within seconds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.datasets import write_dataset

NAME = "Dataset2203_PICAI"
BLOCK = {"training": {"epochs": 2, "iterations_per_epoch": 2, "val_iterations_per_epoch": 1}}


def prepare(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill nnU-Net's folders raw and preprocessed below `home`.

    Done by nnU-Net's classes in this process: its commands start several interpreters and sample 1e8 voxels.
    """
    for name in ("raw", "preprocessed", "results"):
        (home / name).mkdir(parents=True, exist_ok=True)
        monkeypatch.setenv(f"nnUNet_{name}", str(home / name))
    torch.set_num_threads(1)
    raw = write_dataset(home / "raw", NAME)
    target = home / "preprocessed" / NAME
    shutil.copytree(raw / "labelsTr", target / "gt_segmentations")
    shutil.copy(raw / "dataset.json", target)
    _write_fingerprint(target / "dataset_fingerprint.json")
    _plan(target)
    _preprocess(target)


def _write_fingerprint(path: Path, cases: int = 5, channels: int = 3) -> None:
    statistics = {"mean": 2.0, "median": 2.0, "std": 0.5, "min": 0.0, "max": 4.0}
    statistics |= {"percentile_99_5": 3.5, "percentile_00_5": 0.5}
    content = {
        "spacings": [[3.0, 1.0, 1.0]] * cases,
        "shapes_after_crop": [[8, 32, 32]] * cases,
        "foreground_intensity_properties_per_channel": {str(channel): statistics for channel in range(channels)},
        "median_relative_size_after_cropping": 1.0,
    }
    path.write_text(json.dumps(content))


def _plan(target: Path) -> None:
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner

    ExperimentPlanner(NAME).plan_experiment()
    path = target / "nnUNetPlans.json"
    plans = json.loads(path.read_text())
    chosen: dict[str, Any] = plans["configurations"]["3d_fullres"]
    kwargs = chosen["architecture"]["arch_kwargs"]
    kwargs["features_per_stage"] = [min(4 * 2**stage, 16) for stage in range(kwargs["n_stages"])]
    chosen |= {"batch_size": 2, "text_guidance": BLOCK}
    path.write_text(json.dumps(plans))


def _preprocess(target: Path) -> None:
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
    from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets

    plans = PlansManager(str(target / "nnUNetPlans.json"))
    configuration = plans.get_configuration("3d_fullres")
    description = json.loads((target / "dataset.json").read_text())
    raw = target.parents[1] / "raw" / NAME
    folder = target / configuration.data_identifier
    folder.mkdir()
    for case, files in get_filenames_of_train_images_and_targets(str(raw), description).items():
        DefaultPreprocessor(verbose=False).run_case_save(
            str(folder / case), files["images"], files["label"], plans, configuration, description
        )
