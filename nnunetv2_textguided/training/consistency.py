"""Two trainings that share a model folder, or a training and its checkpoint, must describe the same network."""

from __future__ import annotations

import json
import os
import pickle
import time
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_textguided.errors import TrainingError
from nnunetv2_textguided.presets import resolve
from nnunetv2_textguided.settings import BLOCK


def describe_network(plans: Mapping[str, Any], configuration: str) -> dict[str, Any]:
    """What must agree for weights to mean the same: architecture, parts and words (not where those were read)."""
    manager = PlansManager({key: value for key, value in plans.items() if key != "continue_training"})
    merged = manager.get_configuration(configuration).configuration
    block = resolve(merged.get(BLOCK)).block()
    text = {key: value for key, value in (block["text"]["resolved"] or {}).items() if key not in ("source",)}
    kwargs = {k: v for k, v in merged["architecture"]["arch_kwargs"].items() if k != BLOCK}
    alignment = {key: value for key, value in block["alignment"].items() if key != "weight"}
    # Checkpointing changes no result: who runs out of memory may turn it on and continue.
    encoders = {key: value for key, value in block["encoders"].items() if key != "checkpointing"}
    return {
        "architecture": {**merged["architecture"], "arch_kwargs": kwargs},
        "components": block["components"],
        "encoders": encoders,
        "alignment": alignment,
        "refiner": block["refiner"],
        "text": {"control": block["text"]["control"], "control_seed": block["text"]["control_seed"], **text},
    }


def differences(here: Any, there: Any, path: str = "") -> Iterator[str]:
    """Lines that say in which keys two nested values differ."""
    if isinstance(here, Mapping) and isinstance(there, Mapping):
        for key in [*here, *(k for k in there if k not in here)]:
            yield from differences(here.get(key), there.get(key), f"{path}.{key}" if path else str(key))
    elif json.dumps(here, sort_keys=True) != json.dumps(there, sort_keys=True):
        yield f"{path}: {_short(here)} here, {_short(there)} there"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else text[:97] + "..."


def check_model_folder(folder: str, plans: Mapping[str, Any], configuration: str) -> None:
    """Refuse to train a fold whose network differs from that of the folds already in the model folder.

    nnU-Net overwrites the folder's plans.json with each fold's, and builds every fold from it at prediction.

    Raises:
        TrainingError: the networks differ; names the keys.
    """
    path = Path(folder) / "plans.json"
    trained = sorted(p.parent.name for p in path.parent.glob("fold_*/checkpoint_*.pth"))
    if not path.is_file() or not trained:
        return
    found = list(differences(describe_network(plans, configuration), describe_network(_read(path), configuration)))
    if found:
        raise TrainingError(
            "This training would build another network than the folds that are already in the model folder:\n    "
            + "\n    ".join(found),
            where=f"{path} ({', '.join(dict.fromkeys(trained))})",
            remedy="Use another plans name (-p) for the new settings, or move the old model folder away.",
        )


def _read(path: Path) -> dict[str, Any]:
    """plans.json, which another fold may be writing this very moment (nnU-Net does not write it atomically)."""
    for attempt in range(20):
        try:
            plans: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return plans
        except json.JSONDecodeError as e:
            if attempt == 19:
                raise TrainingError("The file is not valid JSON.", where=path, remedy="Delete it.") from e
            time.sleep(0.25)
    raise AssertionError("unreachable")


def check_continuation(checkpoint: str | Mapping[str, Any], plans: Mapping[str, Any], configuration: str) -> None:
    """Refuse to continue from, or validate, a checkpoint of another network or of other words.

    Raises:
        TrainingError: the checkpoint cannot be read, or differs; names the keys.
    """
    if isinstance(checkpoint, (str, os.PathLike)):
        where: object = checkpoint
        try:
            # mmap: the weights are not read, only what describes them.
            content = torch.load(checkpoint, map_location="cpu", mmap=True, weights_only=False)
        except (RuntimeError, EOFError, zipfile.BadZipFile, pickle.UnpicklingError, OSError) as e:
            raise TrainingError(
                f"The checkpoint cannot be read: {e}",
                where=where,
                remedy="Move it away; --c then continues from the next best checkpoint of the fold, if there is one.",
            ) from e
    else:
        where, content = "checkpoint", checkpoint
    there = content["init_args"]["plans"]
    found = list(differences(describe_network(plans, configuration), describe_network(there, configuration)))
    if found:
        raise TrainingError(
            "The checkpoint belongs to another network or was trained with other words:\n    " + "\n    ".join(found),
            where=where,
            remedy="Restore the plans and embedding file that it was trained with, or start a new training.",
        )
