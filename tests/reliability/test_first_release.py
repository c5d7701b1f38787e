"""A model of the first release stays loadable: for prediction, for continuing, for inspection."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_textguided.inference.inspection.report import inspect_model
from nnunetv2_textguided.training import nnUNetTrainerAlignRefine
from tests.text.models import CONFIGURATION, make_trainer, needs_safe_loading, save_model, write_dataset

MODEL = Path(__file__).parent / "data" / "release_0.1.0"


def patch() -> torch.Tensor:
    """(1, 3, 8, 16, 16), the same on every platform."""
    return torch.sin(torch.arange(3 * 8 * 16 * 16, dtype=torch.float32)).view(1, 3, 8, 16, 16)


def write_release(folders: Path, target: Path) -> None:
    """How the model was made: a trainer of that release, one step so that the refiner acts, and its logits."""
    write_dataset(folders, "csPCa")
    torch.manual_seed(0)
    trainer = make_trainer(
        "csPCa",
        block={"refiner": {"design": "attention", "tokens": "pooled", "dim": 32, "tau": 0.0, "max_fraction": 1.0}},
    )
    trainer.bare_network.refiner.alpha.fill_(1)
    for _ in range(2):
        trainer.optimizer.zero_grad()
        trainer.network(patch())[0].square().mean().backward()
        trainer.optimizer.step()
    shutil.copytree(save_model(trainer), target)
    with torch.no_grad():
        logits = trainer.network.eval()(patch())[0]
    (target / "logits.json").write_text(
        json.dumps([round(value, 5) for value in logits[0, :, 4, 8].flatten().tolist()])
    )


def build() -> Any:
    plans = PlansManager(str(MODEL / "plans.json"))
    return nnUNetTrainerAlignRefine.build_network_architecture(
        plans, plans.get_configuration(CONFIGURATION), 3, 2, False
    )


def test_it_predicts_what_it_predicted() -> None:
    network = build()
    content = torch.load(MODEL / "fold_0" / "checkpoint_final.pth", map_location="cpu", weights_only=False)
    network.load_state_dict(content["network_weights"])
    assert float(network.refiner.alpha) == 1
    with torch.no_grad():
        logits = network.eval()(patch())[0, :, 4, 8].flatten()
    torch.testing.assert_close(
        logits, torch.tensor(json.loads((MODEL / "logits.json").read_text())), atol=1e-4, rtol=1e-3
    )


def test_it_continues(nnunet_folders: Path) -> None:
    write_dataset(nnunet_folders, "csPCa")
    plans = {**json.loads((MODEL / "plans.json").read_text()), "continue_training": True}
    dataset = json.loads((MODEL / "dataset.json").read_text())
    trainer = nnUNetTrainerAlignRefine(plans, CONFIGURATION, 0, dataset, torch.device("cpu"))
    trainer.load_checkpoint(os.fspath(MODEL / "fold_0" / "checkpoint_final.pth"))
    assert trainer.current_epoch == 2
    assert len(trainer.optimizer.state_dict()["state"]) > 10


@needs_safe_loading
def test_it_is_described() -> None:
    [report] = inspect_model(MODEL)
    assert report.trainer == "nnUNetTrainerAlignRefine"
    assert report.folds[0].phase == "refine"
    assert report.settings is not None
    assert report.settings.refiner.tau == 0
