"""Our own planner's plans from the first command to the last: planned, started from stock weights, predicted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from nnunetv2_textguided.cli import main
from nnunetv2_textguided.network.from_plans import NETWORK_CLASS
from tests.datasets import Workspace
from tests.packaging.environment import Environment

PLANS, TRAINER = "nnUNetAlignRefinePlans", "nnUNetTrainerAlignRefine_1epoch"
PREDICT = "from nnunetv2.inference.predict_from_raw_data import predict_entry_point; predict_entry_point()"


def stock_checkpoint(plans: Path, target: Path) -> Path:
    """What stock nnU-Net's trainer saves; untrained, since only its names and shapes matter here."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    content = {**json.loads(plans.read_text()), "continue_training": False}
    description = json.loads((plans.parent / "dataset.json").read_text())
    trainer = nnUNetTrainer(content, "3d_fullres", 0, description, torch.device("cpu"))
    trainer.initialize()
    trainer.save_checkpoint(str(target))
    return target


@pytest.mark.slow
@pytest.mark.timeout(1800)  # two commands and, where this test is alone, planning and two builds before them
@pytest.mark.parametrize("installed", ["wheel"], indirect=True)
def test_planned_and_converted_it_trains_and_predicts_where_only_the_package_is_installed(
    workspace: Workspace, installed: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {name: value for name, value in workspace.environment.items() if name.startswith("nnUNet_")}
    for name, value in {**variables, "nnUNet_compile": "f"}.items():
        monkeypatch.setenv(name, value)
    workspace.edit_plans("3d_fullres", None)
    workspace.edit_plans("2d", None)
    preset = tmp_path / "short.json"
    preset.write_text(json.dumps({"training": {"iterations_per_epoch": 2, "val_iterations_per_epoch": 1}}))
    assert main(["plan", "-d", "901", "--topology-of", "nnUNetPlans", "--preset", str(preset)]) == 0
    planned = json.loads(workspace.plans_path(PLANS).read_text())["configurations"]["3d_fullres"]
    assert planned["architecture"]["network_class_name"] == NETWORK_CLASS
    assert planned["data_identifier"] == "nnUNetPlans_3d_fullres"  # nothing is preprocessed again

    checkpoint = stock_checkpoint(workspace.plans_path(), tmp_path / "stock.pth")
    start = tmp_path / "start.pth"
    words = ["convert-weights", str(checkpoint), "-d", "901", "-c", "3d_fullres", "-p", PLANS, "-o", str(start)]
    assert main([*words, "-tr", TRAINER]) == 0

    # From here on as a user who has installed the package: no variable names the trainers, no path the repository.
    variables.pop("nnUNet_extTrainer")
    arguments = ["901", "3d_fullres", "0", "-p", PLANS, "-tr", TRAINER, "-device", "cpu"]
    command = [installed.python, "-m", "nnunetv2.run.run_training", *arguments, "-pretrained_weights", start]
    trained = installed.run(*command, **variables)
    assert trained.returncode == 0, trained.stdout[-3000:] + trained.stderr[-3000:]
    assert "Loading pretrained weights from file" in trained.stdout
    model = workspace.root / "results" / "Dataset901_Tiny" / f"{TRAINER}__{PLANS}__3d_fullres"
    assert (model / "fold_0" / "validation" / "summary.json").is_file()

    source, out = workspace.root / "raw" / "Dataset901_Tiny" / "imagesTs", tmp_path / "out"
    arguments = ["-i", source, "-o", out, "-d", "901", "-c", "3d_fullres", "-p", PLANS, "-tr", TRAINER, "-f", "0"]
    predicted = installed.run(
        *(installed.python, "-c", PREDICT, *arguments, "-device", "cpu", "-npp", "0", "-nps", "0", "--disable_tta"),
        **variables,
    )
    assert predicted.returncode == 0, predicted.stdout[-3000:] + predicted.stderr[-3000:]
    assert [path.name for path in out.glob("*.nii.gz")] == ["case_005.nii.gz"]
