"""Extreme images and labels in half precision: finite losses and gradients, or a step that is left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.preprocessing.normalization.default_normalization_schemes import ZScoreNormalization

from nnunetv2_textguided.errors import TrainingError
from nnunetv2_textguided.training import nnUNetTrainerAlignRefine
from tests.datasets import Workspace
from tests.networks import network
from tests.reliability.pinned import CONFIGURATION, EPOCHS

Copy = Callable[[str], Path]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


class HalfTrainer(nnUNetTrainerAlignRefine):
    """Autocasts on the CPU, as the trainer does on a GPU."""

    dtype = torch.float32

    def _autocast(self) -> Any:
        return torch.autocast("cpu", dtype=self.dtype, enabled=self.dtype != torch.float32)


Make = Callable[[torch.dtype], HalfTrainer]


@pytest.fixture
def make(copy_planned: Copy, monkeypatch: pytest.MonkeyPatch) -> Make:
    root = copy_planned("numerics")
    for name in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{name}", str(root / name))
    torch.set_num_threads(1)

    def build(dtype: torch.dtype) -> HalfTrainer:
        path = Workspace(root).plans_path()
        plans = {**json.loads(path.read_text()), "continue_training": False}
        plans["configurations"][CONFIGURATION]["text_guidance"]["refiner"] = {"band": 1e9}
        dataset = json.loads((path.parent / "dataset.json").read_text())
        torch.manual_seed(0)
        trainer = HalfTrainer(plans, CONFIGURATION, 0, dataset, torch.device("cpu"))
        trainer.dtype = dtype
        trainer.initialize()
        trainer.current_epoch = EPOCHS - 1
        trainer.logger.local_logger.my_fantastic_logging["lrs"] = [0.0] * (EPOCHS - 1)
        trainer.on_train_epoch_start()
        return trainer

    return build


def images(kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """(channels, *S) raw intensities."""
    noise = np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)
    if kind == "a constant channel":
        noise[1] = 7
    elif kind == "all zero":
        noise[:] = 0
    elif kind == "one bright voxel":
        noise[:] = 0
        noise[:, 0, 0, 0] = 1e6
    return noise * {"around 1e6": 1e6, "around 1e-6": 1e-6}.get(kind, 1)


IMAGES = ["ordinary", "a constant channel", "all zero", "around 1e6", "around 1e-6", "one bright voxel"]
LABELS = [("nothing", 2), ("one voxel", 2), ("everything", 2), ("one voxel", 1)]


def batch(trainer: HalfTrainer, data: np.ndarray, label: str, size: int = 2) -> dict[str, Any]:
    patch = trainer.configuration_manager.patch_size
    target = torch.zeros(size, 1, *patch)
    if label == "everything":
        target[:] = 1
    elif label == "one voxel":
        target[0, 0, patch[0] // 2, patch[1] // 2, patch[2] // 2] = 1
    scales = [
        [round(n * s) for n, s in zip(patch, scale, strict=True)] for scale in trainer._get_deep_supervision_scales()
    ]
    targets = [torch.nn.functional.interpolate(target, scale) for scale in scales]
    return {"data": torch.from_numpy(data)[None].repeat(size, 1, 1, 1, 1), "target": targets, "keys": ["a", "b"][:size]}


def assert_finite(trainer: HalfTrainer, outcome: dict[str, Any]) -> None:
    assert np.isfinite(outcome["loss"])
    assert np.isfinite(outcome["terms"][:4]).all()
    for name, parameter in trainer.bare_network.named_parameters():
        assert parameter.isfinite().all(), name
        assert parameter.grad is None or parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_extreme_images_and_labels_give_finite_losses_and_gradients(
    make: Callable[..., HalfTrainer], dtype: Any
) -> None:
    """As the network sees images: normalised by nnU-Net."""
    trainer = make(dtype)
    start = {name: value.clone() for name, value in trainer.bare_network.state_dict().items()}
    normalise, patch = ZScoreNormalization(False, {}).run, tuple(trainer.configuration_manager.patch_size)
    for kind in IMAGES:
        data = np.stack([normalise(channel) for channel in images(kind, patch)])
        for label, size in LABELS:
            trainer.bare_network.load_state_dict(start)
            trainer.optimizer.state.clear()
            outcome = trainer.train_step(batch(trainer, data, label, size))
            assert_finite(trainer, outcome)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_intensities_that_nobody_normalised_do_not_reach_the_weights(
    make: Callable[..., HalfTrainer], dtype: Any
) -> None:
    """float16 ends at 65504: such a step is left out, and if they all are, the training stops and says so."""
    trainer = make(dtype)
    patch = tuple(trainer.configuration_manager.patch_size)
    for kind in ("around 1e6", "around 1e-6", "one bright voxel"):
        outcome = trainer.train_step(batch(trainer, images(kind, patch), "one voxel"))
        if dtype != torch.float16 or kind == "around 1e-6":
            assert_finite(trainer, outcome)
        assert all(parameter.isfinite().all() for parameter in trainer.bare_network.parameters())
    broken = batch(trainer, np.full((3, *patch), np.inf, np.float32), "one voxel")
    trainer.watch.patience = 1
    with pytest.raises(TrainingError, match=r"(?s)component: loss, loss_seg.*epoch 5, cases a, b.*what to do"):
        trainer.train_step(broken)
    assert all(parameter.isfinite().all() for parameter in trainer.bare_network.parameters())


def test_a_patch_smaller_than_the_refiner_s_budget() -> None:
    """Two per cent of so few voxels is one; and all of them, if the refiner may."""
    for fraction in (0.02, 1.0):
        net = network({"refiner": {"band": 1e9, "max_fraction": fraction}})
        net.refiner.alpha.fill_(1)  # type: ignore[union-attr]
        for dtype in DTYPES:
            net.zero_grad()
            # oneDNN's bfloat16 weight gradient of so small a convolution is at times not finite, for any network.
            with torch.backends.mkldnn.flags(enabled=dtype != torch.bfloat16):
                with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
                    out, similarity = net(torch.randn(1, 3, 2, 4, 8), return_similarity=True)
                (out.float().square().mean() + similarity.float().square().mean()).backward()
            assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)
