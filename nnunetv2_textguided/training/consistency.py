"""Two trainings that share a model folder, or a training and its checkpoint, must describe the same network."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunetv2_textguided.errors import TrainingError
from nnunetv2_textguided.files import read_json
from nnunetv2_textguided.settings import BLOCK
from nnunetv2_textguided.settings.presets import resolve
from nnunetv2_textguided.training.configuration import read_configuration
from nnunetv2_textguided.training.continuation import check_structure, open_checkpoint


def describe_network(plans: Mapping[str, Any], configuration: str, where: object = "plans") -> dict[str, Any]:
    """What must agree for weights to mean the same: architecture, parts and words (not where those were read)."""
    merged = read_configuration(plans, configuration, where)
    block = resolve(merged.get(BLOCK), where=where).block()
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
        "text": {**{key: block["text"][key] for key in ("control", "control_seed", "geometry")}, **text},
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
    checkpoints = sorted(path.parent.glob("fold_*/checkpoint_*.pth"))
    if not path.is_file() or not checkpoints:
        return
    there = _read(path) or _plans_of(checkpoints)
    if there is None:
        return
    found = list(differences(describe_network(plans, configuration), describe_network(there, configuration, path)))
    if found:
        folds = dict.fromkeys(checkpoint.parent.name for checkpoint in checkpoints)
        raise TrainingError(
            "This training would build another network than the folds that are already in the model folder:\n    "
            + "\n    ".join(found),
            where=f"{path} ({', '.join(folds)})",
            remedy="Use another plans name (-p) for the new settings, or move the old model folder away.",
        )


def _read(path: Path) -> dict[str, Any] | None:
    """plans.json, which another fold may be writing this very moment (nnU-Net does not write it atomically).

    None if it stays unreadable: then a training was killed while it wrote it, and nnU-Net is about to write it again.
    """
    for attempt in range(8):
        try:
            plans = read_json(path, error=TrainingError)
        except TrainingError:
            time.sleep(0.25 if attempt < 7 else 0)
        else:
            return plans if isinstance(plans, dict) else None
    return None


def _plans_of(checkpoints: Sequence[Path]) -> Mapping[str, Any] | None:
    """The plans that the first readable checkpoint was trained with."""
    for checkpoint in checkpoints:
        with contextlib.suppress(TrainingError):
            plans: Mapping[str, Any] = open_checkpoint(checkpoint)["init_args"]["plans"]
            return plans
    return None


def check_continuation(checkpoint: str | Mapping[str, Any], plans: Mapping[str, Any], configuration: str) -> None:
    """Refuse to continue from, or validate, a checkpoint of another network or of other words.

    Raises:
        TrainingError: the checkpoint cannot be read, or differs; names the keys.
    """
    if isinstance(checkpoint, (str, os.PathLike)):
        where: object = checkpoint
        content = open_checkpoint(Path(checkpoint))
    else:
        where, content = "checkpoint", checkpoint
        check_structure(content, where)
    there = content["init_args"]["plans"]
    found = list(differences(describe_network(plans, configuration), describe_network(there, configuration, where)))
    if found:
        raise TrainingError(
            "The checkpoint belongs to another network or was trained with other words:\n    " + "\n    ".join(found),
            where=where,
            remedy="Restore the plans and embedding file that it was trained with, or start a new training.",
        )
