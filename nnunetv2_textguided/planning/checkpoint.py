"""Read a stock checkpoint and check, before any tensor is touched, that its weights can belong to a network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from nnunetv2_textguided.errors import NetworkError
from nnunetv2_textguided.nnunet.checkpoints import read_content
from nnunetv2_textguided.nnunet.plans import merged_configuration
from nnunetv2_textguided.planning.topology import stock_architecture

_PREFIXES = ("module.", "_orig_mod.")
# What must agree for weights to mean the same; shapes do not show strides, for one.
_TOPOLOGY = (
    "n_stages",
    "features_per_stage",
    "strides",
    "kernel_sizes",
    "n_conv_per_stage",
    "n_blocks_per_stage",
    "n_conv_per_stage_decoder",
)


@dataclass(frozen=True)
class StockCheckpoint:
    """Weights of a network with one encoder.

    Attributes:
        path: the file.
        weights: network weights by nnU-Net's names.
        pretrained_encoder: self-supervised pre-training (nnssl): the encoder is what counts, keys and shapes decide.
        description: what the weights are, in words.
    """

    path: Path
    weights: dict[str, Tensor]
    pretrained_encoder: bool
    description: str


def read_checkpoint(path: Path, architecture: Mapping[str, Any], channels: int) -> StockCheckpoint:
    """Read nnU-Net's checkpoint of a stock network, or nnssl's of a pre-trained encoder.

    Args:
        path: the file.
        architecture: the stock network's `architecture` block of the plans that the weights are meant for.
        channels: image channels of the data set.

    Raises:
        NetworkError: the file is damaged, holds more than data, or its network is another one; says what differs.
    """
    content = _load(path)
    weights = content.get("network_weights")
    if not isinstance(weights, Mapping) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise NetworkError(
            "The file is no nnU-Net checkpoint: it has no network_weights.",
            where=path,
            remedy="Use checkpoint_final.pth or checkpoint_best.pth of an nnU-Net training.",
        )
    weights = {_plain_name(key): value for key, value in weights.items()}
    if "nnssl_adaptation_plan" in content:
        weights = _as_nnunet_names(weights, content["nnssl_adaptation_plan"], path)
        return StockCheckpoint(path, weights, True, "a pre-trained encoder (nnssl)")
    if any(key.startswith("encoder.branches.") for key in weights):
        raise NetworkError(
            "The checkpoint is of a text-guided network already.",
            where=path,
            remedy="Pass it to -pretrained_weights as it is.",
        )
    description = _check_training(content, architecture, path)
    _check_stem(weights, architecture, channels, path)
    return StockCheckpoint(path, weights, False, description)


def _load(path: Path) -> Mapping[str, Any]:
    content = read_content(path, NetworkError)
    if not isinstance(content, Mapping):
        raise NetworkError("The file is no nnU-Net checkpoint.", where=path, remedy="Use checkpoint_final.pth.")
    return content


def _plain_name(key: str) -> str:
    """A weight's name without what DDP and torch.compile put before it."""
    while key.startswith(_PREFIXES):
        key = key.split(".", 1)[1]
    return key


def _as_nnunet_names(weights: dict[str, Tensor], plan: Any, path: Path) -> dict[str, Tensor]:
    """nnssl says where encoder and stem are; nnU-Net's networks have them at encoder.stages and encoder.stem."""
    places = {plan.get("key_to_encoder"): "encoder.stages", plan.get("key_to_stem"): "encoder.stem"}
    renamed = dict(weights)
    for old, new in places.items():
        if isinstance(old, str) and old not in (new, "encoder.stages.0"):
            for key in [k for k in weights if k.startswith(f"{old}.")]:
                renamed[new + key[len(old) :]] = renamed.pop(key)
    if not any(key.startswith("encoder.stages.") for key in renamed):
        raise NetworkError(
            f"The pre-trained network has no U-Net encoder where it says ({plan.get('key_to_encoder')!r}).",
            where=path,
            remedy="Use a checkpoint of a residual-encoder U-Net, such as nnssl's ResEncL.",
        )
    return renamed


def _check_training(content: Mapping[str, Any], architecture: Mapping[str, Any], path: Path) -> str:
    """Compare the checkpoint's own plans with the wanted architecture; returns a description of the training."""
    arguments = content.get("init_args") or {}
    plans, configuration = arguments.get("plans"), arguments.get("configuration")
    if not isinstance(plans, Mapping) or configuration not in plans.get("configurations", {}):
        raise NetworkError(
            "The checkpoint does not say which plans it was trained with.",
            where=path,
            remedy="Use a checkpoint that nnUNetv2_train wrote.",
        )
    theirs = stock_architecture(merged_configuration(plans, str(configuration))["architecture"])
    found = list(_differences(theirs, architecture))
    name = plans.get("plans_name", "?")
    if found:
        raise NetworkError(
            "The checkpoint's network differs from that of the plans:\n    " + "\n    ".join(found),
            where=f"{path} (plans {name}, configuration {configuration})",
            remedy="Convert for the checkpoint's own configuration and plans (-c, -p), which our trainer takes; or "
            f"make plans that keep its network: `nnUNetv2_textguided plan --topology-of {name}`.",
        )
    return f"{content.get('trainer_name', 'a training')} with {name}, {configuration}"


def _differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> Iterator[str]:
    name = "network_class_name"
    if theirs[name].split(".")[-1] != ours[name].split(".")[-1]:
        yield f"{name}: {theirs[name]} in the checkpoint, {ours[name]} in the plans"
    for key in _TOPOLOGY:
        here, there = (_plain(block["arch_kwargs"].get(key)) for block in (ours, theirs))
        if here != there:
            yield f"{key}: {there} in the checkpoint, {here} in the plans"


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def stem_key(architecture: Mapping[str, Any]) -> str:
    """The name of the first convolution's weight in the stock network."""
    plain = architecture["network_class_name"].endswith("PlainConvUNet")
    return f"encoder.{'stages.0.0' if plain else 'stem'}.convs.0.conv.weight"


def _check_stem(weights: Mapping[str, Tensor], architecture: Mapping[str, Any], channels: int, path: Path) -> None:
    key = stem_key(architecture)
    if key not in weights:
        raise NetworkError(f"The checkpoint has no {key}.", where=path, remedy="Use an nnU-Net checkpoint.")
    found = weights[key].shape[1]
    if found != channels:
        raise NetworkError(
            f"The checkpoint's network takes {found} image channel{'s' * (found != 1)}, the data set has {channels}.",
            where=path,
            remedy="Use a checkpoint of a training on the same channels in the same order.",
        )
