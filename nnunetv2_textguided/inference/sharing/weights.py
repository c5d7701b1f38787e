"""A checkpoint of nnU-Net's as safetensors and JSON, and back. What continues a training (optimiser) is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.files import json_value, read_json, write_json
from nnunetv2_textguided.nnunet.checkpoints import read_checkpoint

WEIGHTS = "model.safetensors"
REST = "checkpoint.json"
KEPT = ("trainer_name", "inference_allowed_mirroring_axes", "current_epoch", "_best_ema", "logging")
"""What prediction and `inspect` read of a checkpoint, beside weights and init_args."""
ARGUMENTS = ("plans", "configuration", "fold", "dataset_json")
"""Of init_args: the others (the device) are of the machine that trained."""


def export_checkpoint(checkpoint: Path, folder: Path) -> None:
    """Write the two files of a checkpoint into the folder.

    Raises:
        DataError: the checkpoint is damaged, or holds something that is not data.
    """
    import torch
    from safetensors.torch import save_file

    content = read_checkpoint(checkpoint)
    weights = content["network_weights"]
    strange = [key for key, value in weights.items() if not isinstance(value, torch.Tensor)]
    if strange:
        raise DataError(f"Weights that are no tensors: {', '.join(map(str, strange))}.", where=checkpoint)
    folder.mkdir(parents=True)
    # Copies: safetensors refuses tensors that share memory, as those of a decoder that holds its encoder do.
    save_file({key: value.clone().contiguous() for key, value in weights.items()}, folder / WEIGHTS)
    rest = {key: content[key] for key in KEPT if key in content}
    arguments = {key: content["init_args"][key] for key in ARGUMENTS if key in content["init_args"]}
    write_json(folder / REST, json_value({**rest, "init_args": arguments}))


def build_checkpoint(folder: Path, target: Path) -> dict[str, Any]:
    """Write the checkpoint that nnU-Net reads, from the two files in the folder; returns all but its weights.

    Raises:
        DataError: one of them is damaged.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise DataError(f"The weights cannot be read: {error}.", where=folder / WEIGHTS) from error
    rest = read_json(folder / REST, error=DataError)
    if not isinstance(rest, dict) or not isinstance(rest.get("init_args"), dict) or "trainer_name" not in rest:
        raise DataError("The file does not say which trainer and plans the weights belong to.", where=folder / REST)
    axes = rest.get("inference_allowed_mirroring_axes")
    if axes is not None:
        rest["inference_allowed_mirroring_axes"] = tuple(axes)
    with target.open("wb") as stream:
        torch.save({"network_weights": weights, **rest}, stream)
    return rest
