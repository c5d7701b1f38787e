"""nnU-Net's own Weights & Biases logger gets every value of this package, also after a kill and `--c`."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from nnunetv2.training.logging import nnunet_logger

from nnunetv2_textguided.training.logbook import OWN, PREFIX
from nnunetv2_textguided.training.trainer import nnUNetTrainerAlignRefine

LENGTH = {"epochs": 4, "iterations_per_epoch": 1, "val_iterations_per_epoch": 1, "save_every": 1}


class Service:
    """As much of the module `wandb` as nnU-Net uses: one run, which can be resumed."""

    def __init__(self) -> None:
        self.history: dict[int, dict[str, Any]] = {}
        self.modes: list[str] = []

    def init(self, *, mode: str, **_: Any) -> SimpleNamespace:
        self.modes.append(mode)
        step = max(self.history, default=-1) + 1
        config = SimpleNamespace(update=lambda *_, **__: None)
        return SimpleNamespace(step=step, config=config, summary={}, log=self.log)

    def log(self, values: dict[str, Any], step: int) -> None:
        # The real one drops what is logged to an earlier step than the last, and draws numbers only.
        assert step >= max(self.history, default=0), (step, values)
        assert all(isinstance(v, str) or math.isfinite(float(v)) or math.isnan(float(v)) for v in values.values())
        self.history.setdefault(step, {}).update(values)


class Killed(Exception):
    """Stands for the end of a process."""


@pytest.mark.slow
def test_every_epoch_reaches_weights_and_biases(
    make_trainer: Callable[..., nnUNetTrainerAlignRefine], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service()
    monkeypatch.setattr(nnunet_logger, "wandb", service)
    trainer = make_trainer(block={"training": LENGTH})
    assert not trainer.logger.loggers, "off unless nnU-Net's variable turns it on"

    for name, value in {"nnUNet_wandb_enabled": "1", "nnUNet_wandb_mode": "offline", "nnUNet_n_proc_DA": "0"}.items():
        monkeypatch.setenv(name, value)
    trainer = make_trainer(block={"training": LENGTH})
    start = trainer.on_epoch_start

    def killed_before_epoch_two() -> None:
        # nnU-Net's logger skips the whole of an epoch that a killed run had begun to log, so it is killed before.
        if trainer.current_epoch == 2:
            raise Killed
        start()

    monkeypatch.setattr(trainer, "on_epoch_start", killed_before_epoch_two)
    with pytest.raises(Killed):
        trainer.run_training()

    twin = make_trainer(block={"training": LENGTH}, continued=True)
    twin.load_checkpoint(f"{twin.output_folder}/checkpoint_latest.pth")
    twin.run_training()
    assert service.modes == ["offline", "offline"]
    assert sorted(service.history) == [0, 1, 2, 3]
    for epoch, values in service.history.items():
        assert {PREFIX + key for key in OWN} <= set(values), epoch
        assert math.isfinite(values["train_losses"])
    assert [service.history[e][f"{PREFIX}phase"] for e in range(4)] == ["warm-up", "align", "align", "refine"]
    local = twin.logger.get_value(f"{PREFIX}loss_seg", None)
    assert [service.history[e][f"{PREFIX}loss_seg"] for e in range(4)] == local
