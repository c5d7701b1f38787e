"""A seed gives the same initial weights, another one others, and is in the log that `benchmark run` reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from nnunetv2_textguided.benchmark.progress import ProgressReader
from nnunetv2_textguided.training.seed import describe_seed

Make = Callable[..., Any]
SHORT = {"epochs": 2, "iterations_per_epoch": 1, "val_iterations_per_epoch": 1}


def weights(make_trainer: Make, seed: int) -> tuple[torch.Tensor, Any]:
    trainer = make_trainer(block={"training": {**SHORT, "seed": seed}})
    trainer.initialize()
    return torch.cat([value.flatten() for value in trainer.bare_network.parameters()]).detach().clone(), trainer


def test_a_seed_gives_the_same_initial_weights_and_is_logged(make_trainer: Make) -> None:
    (first, _), (again, _), (other, trainer) = (weights(make_trainer, seed) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    trainer.print_to_log_file(describe_seed())
    assert ProgressReader().read(Path(trainer.output_folder)).seed == 4
