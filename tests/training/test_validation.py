"""nnU-Net's online validation, and what is learned there about the heatmap."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunetv2_textguided.training import nnUNetTrainerAlignRefine
from nnunetv2_textguided.training.validation import random_patches
from tests.training.test_trainer import ODD, batch

Make = Callable[..., nnUNetTrainerAlignRefine]


def validate(trainer: nnUNetTrainerAlignRefine, *batches: dict[str, Any]) -> list[dict]:
    """An epoch's validation."""
    trainer.logger.local_logger.my_fantastic_logging["train_losses"] = [0.0]
    with torch.no_grad():
        trainer.on_validation_epoch_start()
        outputs = [trainer.validation_step(given) for given in batches]
        trainer.on_validation_epoch_end(outputs)
    return outputs


def started(make_trainer: Make, **options: Any) -> Any:
    trainer = make_trainer(**options)
    trainer.initialize()
    return trainer


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("share", [0.0, 0.33, 0.5, 0.9, 1.0])
def test_patches_that_nnunet_draws_from_anywhere_are_known(size: int, share: float) -> None:
    loader = SimpleNamespace(batch_size=size, oversample_foreground_percent=share)
    anywhere = [not nnUNetDataLoader._oversample_last_XX_percent(loader, i) for i in range(size)]  # type: ignore[arg-type]
    known = random_patches(size, share, probabilistic=False)
    assert [i < known for i in range(size)] == anywhere
    assert random_patches(size, share, probabilistic=True) == 0


def test_the_line_is_learned_from_random_patches_alone(make_trainer: Make) -> None:
    trainer = started(make_trainer)
    alignment = trainer.bare_network.alignment
    given = batch(trainer)
    voxels = float(np.prod(given["target"][0].shape[2:]))
    share = float((given["target"][0][0] == 1).float().mean())
    validate(trainer, given, given)
    cells = alignment.calibration.mass.sum(dim=(0, 2))
    assert (cells[1] / cells.sum()).item() == pytest.approx(share, rel=1e-3)
    assert cells.sum() < 2 * voxels  # of two patches a batch, drawn twice, one is random; the map is coarser, too
    shown = trainer.bare_network.eval().explain(given["data"][:1]).heatmap.mean().item()
    assert shown == pytest.approx(share, rel=0.2)


def test_foreground_in_patches_that_are_drawn_around_it_says_nothing(make_trainer: Make) -> None:
    trainer = started(make_trainer)
    given = batch(trainer)
    for target in given["target"]:
        target[0] = 0
    validate(trainer, given)
    calibration = trainer.bare_network.alignment.calibration
    assert not calibration.mass[:, 1].any()
    assert calibration.mass[:, 0].any()
    assert calibration.line.tolist() == [[1, 0]]


@pytest.mark.parametrize("name", ["ignore label", "three classes, one of them unknown to the bank"])
def test_ignored_voxels_are_no_evidence_and_every_label_has_its_own(make_trainer: Make, name: str) -> None:
    trainer = started(make_trainer, dataset=ODD[name])
    given = batch(trainer)
    full = given["target"][0]
    if name == "ignore label":
        for target in given["target"]:
            target[..., target.shape[-1] // 2 :] = 2
    validate(trainer, given)
    mass = trainer.bare_network.alignment.calibration.mass
    seen = mass.sum(dim=(1, 2))
    assert torch.equal(seen, seen[:1].expand_as(seen))
    ignored = 0.5 if name == "ignore label" else 0.0
    map_voxels = np.prod(trainer.bare_network(given["data"], return_similarity=True)[1].shape[2:])
    assert seen[0].item() == pytest.approx((1 - ignored) * map_voxels, rel=1e-5)
    assert (mass[:, 1].sum(dim=1) > 0).tolist() == [bool((full[0] == value).any()) for value in range(1, len(mass) + 1)]


def test_validation_is_nnunets_own(make_trainer: Make) -> None:
    trainer = started(make_trainer)
    network, given = trainer.network, batch(trainer)
    with torch.no_grad():
        expected = nnUNetTrainer.validation_step(trainer, given)
        trainer.on_validation_epoch_start()
        outcome = trainer.validation_step(given)
    assert outcome.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(outcome[key], value)
    assert trainer.network is network


def test_a_validation_that_fails_leaves_the_network_in_its_place(make_trainer: Make) -> None:
    trainer = started(make_trainer)
    network, given = trainer.network, batch(trainer)
    given["target"] = [target[..., :-1] for target in given["target"]]
    with torch.no_grad():
        trainer.on_validation_epoch_start()
        with pytest.raises(ValueError, match="cannot be averaged"):
            trainer.validation_step(given)
    assert trainer.network is network


def test_a_network_without_text_is_validated_without(make_trainer: Make) -> None:
    trainer = started(make_trainer, block={"components": []})
    assert np.isfinite(validate(trainer, batch(trainer))[0]["loss"])
    assert trainer.online_validation.counts is None


def test_a_training_continues_with_the_line_and_the_evidence(make_trainer: Make, tmp_path: Any) -> None:
    trainer = started(make_trainer)
    validate(trainer, batch(trainer))
    trainer.save_checkpoint(str(tmp_path / "c.pth"))
    twin: Any = make_trainer(continued=True)
    twin.load_checkpoint(str(tmp_path / "c.pth"))
    for given in (batch(trainer, seed=1), batch(trainer, seed=2)):
        for each in (trainer, twin):
            validate(each, given)
    mine, other = (t.bare_network.alignment.calibration for t in (trainer, twin))
    assert torch.equal(mine.mass, other.mass)
    assert torch.equal(mine.line, other.line)
    assert mine.line.tolist() != [[1, 0]]
