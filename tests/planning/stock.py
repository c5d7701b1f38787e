"""Tiny stock networks and the checkpoints that nnU-Net would write of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from torch import nn

from nnunetv2_textguided.files import write_json
from nnunetv2_textguided.settings import BLOCK


def stock_network(
    architecture: dict[str, Any], channels: int, heads: int = 2, *, deep_supervision: bool = False, seed: int = 1
) -> nn.Module:
    """nnU-Net's network with random affine parameters, so that no normalisation layer is the identity."""
    torch.manual_seed(seed)
    network: nn.Module = get_network_from_plans(
        architecture["network_class_name"],
        architecture["arch_kwargs"],
        architecture["_kw_requires_import"],
        channels,
        heads,
        deep_supervision=deep_supervision,
    )
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return network


def plans(architecture: dict[str, Any], configuration: str = "3d_fullres", block: Any = None) -> dict[str, Any]:
    """Plans with one configuration, as far as building networks needs them."""
    chosen: dict[str, Any] = {"architecture": architecture, "data_identifier": "d", "patch_size": [4, 16, 16]}
    if block is not None:
        chosen[BLOCK] = block
    return {
        "dataset_name": "Dataset901_Tiny",
        "plans_name": "nnUNetPlans",
        "label_manager": "LabelManager",
        "configurations": {configuration: chosen},
    }


def write_checkpoint(
    path: Path, network: nn.Module, architecture: dict[str, Any], configuration: str = "3d_fullres", **extra: Any
) -> Path:
    """What nnU-Net's trainer saves, as far as it matters for weights."""
    content = {
        "network_weights": network.state_dict(),
        "optimizer_state": {},
        "init_args": {"plans": plans(architecture, configuration), "configuration": configuration, "fold": 0},
        "trainer_name": "nnUNetTrainer",
        **extra,
    }
    torch.save(content, path)
    return path


def write_preprocessed(folder: Path, content: dict[str, Any], channels: int = 3) -> Path:
    """A data set's folder in nnUNet_preprocessed with its description and plans."""
    target = folder / content["dataset_name"]
    description = {
        "channel_names": {str(i): name for i, name in enumerate(("T2W", "ADC", "HBV")[:channels])},
        "labels": {"background": 0, "csPCa": 1},
        "numTraining": 5,
        "file_ending": ".nii.gz",
    }
    write_json(target / "dataset.json", description)
    write_json(target / f"{content['plans_name']}.json", content)
    return target
