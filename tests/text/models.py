"""A real trainer of this package on plans of a tiny network, without any data: for its checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from nnunetv2_textguided.training.trainer import nnUNetTrainerAlignRefine
from tests.networks import architecture

DATASET = "Dataset951_Tiny"
CONFIGURATION = "3d_fullres"

needs_safe_loading = pytest.mark.skipif(
    not hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint"),
    reason="checkpoints cannot be read safely before torch 2.6, and inspect says so",
)


def tiny_plans(block: dict[str, Any] | None = None) -> dict[str, Any]:
    """Plans of a three-stage network, complete enough for nnU-Net's PlansManager and trainer."""
    configuration = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [8, 16, 16],
        "median_image_size_in_voxels": [8, 16, 16],
        "spacing": [3.0, 1.0, 1.0],
        "normalization_schemes": ["ZScoreNormalization"] * 3,
        "use_mask_for_norm": [False] * 3,
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None},
        "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None},
        "resampling_fn_probabilities_kwargs": {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None},
        "architecture": architecture(features=(4, 8, 8)),
        "batch_dice": False,
    }
    if block is not None:
        configuration["text_guidance"] = block
    return {
        "dataset_name": DATASET,
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [3.0, 1.0, 1.0],
        "original_median_shape_after_transp": [8, 16, 16],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {CONFIGURATION: configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {},
    }


def dataset_json(*labels: str) -> dict[str, Any]:
    """The description of a three-channel data set."""
    return {
        "channel_names": {"0": "T2W", "1": "ADC", "2": "HBV"},
        "labels": {"background": 0, **{label: i for i, label in enumerate(labels, 1)}},
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }


def write_dataset(folders: Path, *labels: str, kind: str = "preprocessed") -> Path:
    """The data set's folder with its dataset.json in nnU-Net's folder `kind`."""
    folder = folders / kind / DATASET
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "preprocessed":  # nnU-Net looks at the kind of file there
        (folder / "nnUNetPlans_3d_fullres").mkdir(exist_ok=True)
        (folder / "nnUNetPlans_3d_fullres" / "case.npz").touch()
    (folder / "dataset.json").write_text(json.dumps(dataset_json(*labels)))
    return folder


def make_trainer(
    *labels: str, fold: int = 0, block: dict[str, Any] | None = None, trainer: type = nnUNetTrainerAlignRefine
) -> Any:
    """An initialised trainer; nnU-Net's folders must be set."""
    torch.set_num_threads(1)
    plans = {**tiny_plans(block), "continue_training": False}
    made = trainer(plans, CONFIGURATION, fold, dataset_json(*labels), torch.device("cpu"))
    made.initialize()
    return made


def save_model(trainer: Any, *, finished: bool = True) -> Path:
    """Write what nnU-Net writes of a training that has reached the refine phase; returns the model folder."""
    log = trainer.logger.local_logger.my_fantastic_logging
    trainer.current_epoch = 1
    log["text_guidance/phase"] = ["warm-up", "refine"]
    log["text_guidance/alpha"] = [0.0, 0.5]
    trainer._best_ema = 0.625
    folder = Path(trainer.output_folder)
    trainer.save_checkpoint(str(folder / ("checkpoint_final.pth" if finished else "checkpoint_latest.pth")))
    if finished:
        (folder / "validation").mkdir()
        (folder / "validation" / "summary.json").write_text(
            json.dumps({"foreground_mean": {"Dice": 0.5 + 0.1 * trainer.fold}})
        )
    base = Path(trainer.output_folder_base)
    (base / "plans.json").write_text(json.dumps(trainer.plans_manager.plans))
    (base / "dataset.json").write_text(json.dumps(trainer.dataset_json))
    return base
