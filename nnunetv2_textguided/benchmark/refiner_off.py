"""The method's trained networks with their refiner switched off, in model folders of their own.

nnU-Net validates them as any other training, so that on and off are compared in the same networks.
"""

from __future__ import annotations

from pathlib import Path

import torch

from nnunetv2_textguided.benchmark.cells import NETWORKS, is_whole
from nnunetv2_textguided.benchmark.rows import REFINER_OFF
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.files import atomic_path, write_json
from nnunetv2_textguided.network.gate import STRENGTH, switched_off
from nnunetv2_textguided.nnunet.checkpoints import read_checkpoint
from nnunetv2_textguided.settings import BLOCK
from nnunetv2_textguided.settings.presets import merge


def is_switched_off(trained: Path, target: Path) -> bool:
    """Whether `target` was made of the training's checkpoint as it is now."""
    return is_whole(target) and target.stat().st_mtime >= trained.stat().st_mtime


def write_refiner_off(trained: Path, target: Path, plans: str, configuration: str) -> None:
    """Write a finished training's checkpoint with its refiner's strength 0, in its weights and in its plans.

    Beside it is written whose networks these are. A validation with an earlier one of `target` counts no more.

    Args:
        trained: the training's checkpoint.
        target: the checkpoint to write, in a fold's folder.
        plans: the plans' name of `target`.
        configuration: that was trained.

    Raises:
        DataError: the checkpoint cannot be read, or its network has no refiner.
    """
    content = read_checkpoint(trained)
    weights, arguments = content["network_weights"], content["init_args"]
    if STRENGTH not in weights:
        raise DataError(
            "This network has no refiner to switch off.",
            where=trained,
            remedy="Leave out the row refiner_off, or plan with a refiner.",
        )
    own, every = arguments["plans"], arguments["plans"]["configurations"]
    changed = {**every[configuration], BLOCK: merge(every[configuration].get(BLOCK) or {}, REFINER_OFF)}
    described = {**own, "plans_name": plans, "configurations": {**every, configuration: changed}}
    (target.parent / "validation" / "summary.json").unlink(missing_ok=True)
    write_json(target.parent / NETWORKS, {"networks": trained.parent.parent.name})
    switched = {"network_weights": switched_off(weights), "init_args": {**arguments, "plans": described}}
    with atomic_path(target, durable=True) as partial:
        torch.save({**content, **switched}, partial)
