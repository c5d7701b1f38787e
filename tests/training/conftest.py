"""A planned and preprocessed tiny data set, made once; each test works on its own copy."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from batchgenerators.utilities.file_and_folder_operations import load_json

from nnunetv2_textguided.training import nnUNetTrainerAlignRefine
from tests.datasets import Workspace, write_dataset

SHORT = {"epochs": 10, "iterations_per_epoch": 2, "val_iterations_per_epoch": 1, "save_every": 1}


@pytest.fixture(scope="session")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Planned for 3d_fullres and 2d with stock plans, and for the residual encoder."""
    workspace = Workspace(tmp_path_factory.mktemp("planned"))
    write_dataset(workspace.root / "raw")
    workspace.plan(901, "3d_fullres", "2d")
    workspace.run("nnUNetv2_plan_experiment", "-d", "901", "-pl", "nnUNetPlannerResEncM")
    # nnU-Net's random folds may validate on nothing but the case without foreground, whose Dice is undefined, and then
    # nnUNetv2_find_best_configuration fails.
    cases = [f"case_{index:03d}" for index in (2, 3, 4, 1, 0)]
    splits = [{"train": [c for c in cases if c != case], "val": [case]} for case in cases]
    (workspace.plans_path().parent / "splits_final.json").write_text(json.dumps(splits))
    return workspace


@pytest.fixture
def workspace(planned: Workspace, tmp_path: Path) -> Workspace:
    """A private copy of the planned data set."""
    shutil.copytree(planned.root, tmp_path / "nnunet")
    return Workspace(tmp_path / "nnunet")


@pytest.fixture
def make_trainer(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Builds a trainer in this process, as nnU-Net's get_trainer_from_args does."""
    for name, value in workspace.environment.items():
        if name.startswith("nnUNet_"):
            monkeypatch.setenv(name, value)
    torch.set_num_threads(1)

    def make(
        trainer: type[nnUNetTrainerAlignRefine] = nnUNetTrainerAlignRefine,
        *,
        block: dict[str, Any] | None = None,
        configuration: str = "3d_fullres",
        plans_name: str = "nnUNetPlans",
        fold: int = 0,
        continued: bool = False,
        dataset: dict[str, Any] | None = None,
    ) -> nnUNetTrainerAlignRefine:
        workspace.edit_plans(configuration, {"training": SHORT, **(block or {})}, plans=plans_name)
        path = workspace.plans_path(plans_name)
        plans = {**load_json(path), "continue_training": continued}
        description = {**load_json(path.parent / "dataset.json"), **(dataset or {})}
        return trainer(plans, configuration, fold, description, torch.device("cpu"))

    return make
