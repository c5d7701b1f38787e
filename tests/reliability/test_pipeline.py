"""Odd data sets through nnU-Net's whole pipeline, full disks, and trainings that start at the same second."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nnunetv2_textguided.errors import TrainingError
from nnunetv2_textguided.nnunet.training_log import moving_dice
from nnunetv2_textguided.text.bank import PromptBank
from nnunetv2_textguided.text.embeddings import read_embeddings, write_embeddings
from tests.datasets import Workspace, write_dataset
from tests.reliability.isolation import Isolation
from tests.reliability.pinned import fold_folder, plan, train
from tests.text.conftest import random_embeddings

Copy = Callable[[str], Path]
SHORT = {"epochs": 3, "iterations_per_epoch": 1, "val_iterations_per_epoch": 1, "save_every": 1}
# Phases: warm-up, align, refine.
BLOCK = {"training": SHORT, "schedule": {"warmup": 0.3, "ramp": 0.3, "refine": 0.6}, "refiner": {"band": 1e9}}
NOTHING = [{"train": ["case_000"], "val": ["case_000"]}]
REGIONS = {
    "labels": {"background": 0, "gland": [1, 2], "Läsion Ω": [2], "ignore": 3},
    "regions_class_order": [1, 2],
}
ODD: dict[str, tuple[str, dict[str, Any], Any]] = {
    "tiny images of two channels, a label without prompts and not in ASCII": (
        "3d_fullres",
        # Of fewer than four slices nnU-Net's own augmentation fails now and then: its blur reflects three voxels.
        {"shape": (4, 9, 10), "channels": 2, "labels": {"background": 0, "Läsion Ω": 1}},
        None,
    ),
    "anisotropic 1:10, no foreground in the fold": (
        "3d_fullres",
        {"shape": (5, 40, 40), "spacing": (0.4, 0.4, 4.0)},
        NOTHING,
    ),
    "2D, one channel, regions and an ignore label": ("2d", {"channels": 1, **REGIONS}, None),
}


def pipeline(root: Path, configuration: str, dataset: dict[str, Any], splits: Any) -> dict[str, Any]:
    """Plan, preprocess, train, validate; the final log."""
    write_dataset(root / "raw", **dataset)
    plan(root, (configuration,), splits)
    Workspace(root).edit_plans(configuration, BLOCK)
    train(0, False, configuration=configuration)
    checkpoint = torch.load(fold_folder(root, 0, configuration) / "checkpoint_final.pth", weights_only=False)
    log: dict[str, Any] = checkpoint["logging"]
    return log


@pytest.mark.slow
@pytest.mark.parametrize("name", ODD)
def test_odd_data_sets_are_planned_trained_and_validated(isolation: Isolation, tmp_path: Path, name: str) -> None:
    for folder in ("raw", "preprocessed", "results"):
        (tmp_path / folder).mkdir()
    log = isolation.run(tmp_path, pipeline, tmp_path, *ODD[name])
    assert log["text_guidance/phase"] == ["warm-up", "align", "refine"]
    assert np.isfinite(log["train_losses"]).all()
    summary = fold_folder(tmp_path, 0, ODD[name][0]) / "validation" / "summary.json"
    assert json.loads(summary.read_text())["metric_per_case"]


def test_an_epoch_without_any_foreground_does_not_end_the_moving_average() -> None:
    nan = float("nan")
    assert moving_dice([], 0.4) == 0.4
    assert moving_dice([0.5], nan) == 0.5
    assert moving_dice([nan, nan], 0.4) == 0.4
    assert moving_dice([0.5, nan], 1.0) == pytest.approx(0.55)
    assert np.isnan(moving_dice([nan], nan))


@pytest.mark.slow
def test_five_folds_started_at_the_same_second_do_not_disturb_each_other(
    isolation: Isolation, copy_planned: Copy
) -> None:
    root = copy_planned("folds")
    splits = Workspace(root).plans_path().parent / "splits_final.json"
    splits.unlink()
    Workspace(root).edit_plans("3d_fullres", BLOCK)
    children = [isolation.start(root, train, fold, False) for fold in range(5)]
    for child in children:
        child.result()
    assert len(json.loads(splits.read_text())) == 5
    folds = [fold_folder(root, fold) for fold in range(5)]
    contents = [torch.load(fold / "checkpoint_final.pth", weights_only=False) for fold in folds]
    texts = [c["init_args"]["plans"]["configurations"]["3d_fullres"]["text_guidance"]["text"] for c in contents]
    assert all(text == texts[0] for text in texts)
    assert json.loads((folds[0].parent / "plans.json").read_text())["configurations"]["3d_fullres"]["text_guidance"]
    assert all((fold / "validation" / "summary.json").is_file() for fold in folds)


def write_often(path: Path, words: str) -> None:
    for _ in range(40):
        write_embeddings(path, random_embeddings(PromptBank("b", {"csPCa": (words,)}, ("rest",)), dim=256))


def test_two_encode_runs_at_once_leave_the_whole_file_of_one(isolation: Isolation, tmp_path: Path) -> None:
    path = tmp_path / "text_embeddings.safetensors"
    write_embeddings(path, random_embeddings(PromptBank("b", {"csPCa": ("first",)}, ("rest",)), dim=256))
    children = [isolation.start(tmp_path, write_often, path, words) for words in ("one", "another")]
    seen = set()
    while any(child.process.is_alive() for child in children):
        seen.add(read_embeddings(path).bank.prompts[0])  # an error if it ever is half a file
    for child in children:
        child.result()
    assert read_embeddings(path).bank.prompts[0] in ("one", "another")
    assert seen <= {"first", "one", "another"}
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


def train_on_a_full_disk() -> None:
    """No file may grow beyond what a checkpoint needs, from the second epoch on."""
    from tests.reliability.pinned import PinnedTrainer

    def fill(place: str) -> None:
        if place.startswith("step of epoch 1"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    PinnedTrainer.die = staticmethod(fill)
    try:
        train(0, False)
    except TrainingError as error:
        print(f"{error}")
        raise


@pytest.mark.slow
def test_a_full_disk_stops_with_the_remedy_and_the_former_checkpoint_stands(
    isolation: Isolation, copy_planned: Copy
) -> None:
    root = copy_planned("full")
    Workspace(root).edit_plans("3d_fullres", BLOCK)
    child = isolation.start(root, train_on_a_full_disk)
    assert child.finish() == 1
    assert "The checkpoint could not be written" in child.output
    assert "Make room or correct the permissions, then continue with --c" in child.output
    fold = fold_folder(root)
    assert torch.load(fold / "checkpoint_latest.pth", weights_only=False)["current_epoch"] == 1
    assert [p.name for p in fold.iterdir() if "partial" in p.name] == []
    isolation.run(root, train, 0, True)
    assert torch.load(fold / "checkpoint_final.pth", weights_only=False)["current_epoch"] == 3
