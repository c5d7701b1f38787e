"""What only a GPU can show: half precision, compiled graphs, no waiting host, and the stock commands on it."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from tests.datasets import Workspace, write_dataset
from tests.gpu.step import Step

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that CUDA finds")

PATCH = (8, 64, 64)
EVERYTHING: dict[str, Any] = {"alignment": {"feedback": True, "conditioning": "image"}}
VARIANTS: dict[str, Mapping[str, Any]] = {
    "default": {},
    "everything": EVERYTHING,
    "checkpointing": {"encoders": {"checkpointing": "stages"}},
    "without text": {"components": []},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_half_precision_learns_and_stays_finite(name: str) -> None:
    step = Step(VARIANTS[name], PATCH, shrink=4, lr=1e-3)
    step.set_weights(0.2, 0.5, 1.0)
    losses = [step() for _ in range(60)]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.1
    assert all(torch.isfinite(p).all() for p in step.bare.parameters())


@pytest.mark.parametrize("name", VARIANTS)
def test_the_host_never_waits_for_forward_loss_and_backward(name: str) -> None:
    step = Step(VARIANTS[name], PATCH, shrink=4)
    step.set_weights(0.2, 0.5, 1.0)
    step()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step.backward(step.total_loss())
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", ["default", "everything", "without text"])
def test_compiled_by_inductor_it_is_one_graph_and_computes_the_same(name: str) -> None:
    torch._dynamo.reset()
    eager, compiled = (
        Step(VARIANTS[name], PATCH, shrink=4, wrap=wrap)
        for wrap in (lambda n: n, lambda n: torch.compile(n, fullgraph=True))
    )
    with torch._dynamo.config.patch(error_on_recompile=True):
        for weights in ((0.0, 0.0, 0.0), (0.1, 0.2, 0.0), (0.2, 0.5, 0.5), (0.0, 0.0, 1.0)):
            losses = []
            for step in (eager, compiled):
                step.set_weights(*weights)
                losses.append(float(step.total_loss().detach()))
            # Half precision, fused in another order.
            assert losses[0] == pytest.approx(losses[1], rel=2e-2)
            compiled()
            eager()


def test_prediction_on_a_gpu_is_that_on_a_cpu() -> None:
    step = Step(EVERYTHING, PATCH, shrink=4)
    step.set_weights(0.0, 0.0, 1.0)
    network = step.bare.eval()
    network.decoder.deep_supervision = False  # type: ignore[union-attr]
    with torch.inference_mode():
        there = network(step.data).cpu()
        here = network.cpu()(step.data.cpu())
    # TF32 and other orders of summation.
    torch.testing.assert_close(there, here, rtol=1e-2, atol=2e-2)


@pytest.mark.timeout(900)
def test_stock_commands_train_continue_and_predict_with_torch_compile(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    write_dataset(workspace.root / "raw")
    workspace.plan(901, "3d_fullres")
    short = {"epochs": 5, "iterations_per_epoch": 4, "val_iterations_per_epoch": 1, "save_every": 1}
    workspace.edit_plans("3d_fullres", {"training": short}, features=8)
    train = ("nnUNetv2_train", "901", "3d_fullres", "0", "-tr", "nnUNetTrainerAlignRefine")
    environment = {**workspace.environment, "nnUNet_compile": "t"}
    output = workspace.run(*train, environment=environment)
    assert "Using torch.compile" in output
    fold = next((workspace.root / "results").glob("*/*/fold_0"))
    log = list(csv.DictReader((fold / "text_guidance_log.csv").open()))
    assert log[-1]["phase"] == "refine"
    assert all(np.isfinite(float(row["loss_seg"])) for row in log)
    (fold / "checkpoint_final.pth").unlink()
    workspace.run(*train, "--c", environment=environment)
    assert (fold / "checkpoint_final.pth").is_file()
    images, out = workspace.root / "raw" / "Dataset901_Tiny" / "imagesTs", workspace.root / "out"
    workspace.run(
        "nnUNetv2_predict",
        *("-i", str(images), "-o", str(out), "-d", "901", "-c", "3d_fullres"),
        *("-tr", "nnUNetTrainerAlignRefine", "-f", "0", "-npp", "1", "-nps", "1"),
        environment=environment,
    )
    assert [sitk.GetArrayFromImage(sitk.ReadImage(str(p))).ndim for p in out.glob("*.nii.gz")] == [3]
