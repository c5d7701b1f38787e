"""Weights of a network with one encoder for the network with one encoder per channel."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nnunetv2_textguided.errors import NetworkError
from nnunetv2_textguided.network import AlignRefineUNet
from nnunetv2_textguided.network.encoders import AverageFusion
from nnunetv2_textguided.planning.checkpoint import StockCheckpoint


@dataclass(frozen=True)
class Conversion:
    """What became of every tensor.

    Attributes:
        weights: the converted network's complete state.
        mapped: target key -> the stock key whose values (or a part of them) it carries.
        averaging: keys of fusions, which average the encoders.
        initialised: target keys without any stock counterpart: they start as in a new training.
        ignored: stock keys that nothing uses, with the reason.
    """

    weights: dict[str, Tensor]
    mapped: dict[str, str]
    averaging: tuple[str, ...]
    initialised: tuple[str, ...]
    ignored: dict[str, str]


def kept_features(available: int, wanted: int, branch: int) -> Tensor:
    """Which of a stock layer's channels a branch takes: its own consecutive ones, so that branches complement another.

    All of them at full width; the branch's own channel at the stem; with narrower encoders, a part.

    Args:
        available: channels of the stock layer.
        wanted: channels of the branch's layer, at most `available`.
        branch: index of the branch.
    """
    return (torch.arange(wanted) + branch * wanted) % available


@torch.no_grad()
def convert_weights(network: AlignRefineUNet, checkpoint: StockCheckpoint) -> Conversion:
    """Put a checkpoint's weights into a text-guided network; the network itself is changed, too.

    Every encoder gets the stock encoder's weights, of which its stem keeps the slice of its own channel; fusions
    average; the decoder is taken over whole. Text, alignment head and refiner stay as they are.

    Args:
        network: newly built, with its text.
        checkpoint: has been checked to be of the same architecture.

    Raises:
        NetworkError: a tensor is missing or has another shape. With a pre-trained encoder only if nothing fits.
    """
    state = network.state_dict()
    mapped: dict[str, str] = {}
    misfits = []
    used: set[str] = set()
    for key, target in state.items():
        source, branch = stock_key(key, network.encoder.first_shared)
        if source is None:
            continue
        if source in checkpoint.weights and (value := _part(checkpoint.weights[source], target, branch)) is not None:
            target.copy_(value)
            mapped[key] = source
            used.add(source)
        else:
            misfits.append(key)
    averaging = _average(network)
    _check_fit(checkpoint, mapped, misfits)
    unmapped = tuple(key for key in state if key not in mapped and key not in averaging)
    return Conversion(state, mapped, averaging, unmapped, _ignored(checkpoint.weights, used))


def _check_fit(checkpoint: StockCheckpoint, mapped: Collection[str], misfits: list[str]) -> None:
    # nnU-Net's -pretrained_weights does not transfer segmentation layers either: other labels are no obstacle.
    if not checkpoint.pretrained_encoder and (misfits := [key for key in misfits if ".seg_layers." not in key]):
        raise NetworkError(
            f"The checkpoint lacks {len(misfits)} of the network's tensors or has them in another shape, "
            f"{misfits[0]} for one.",
            where=checkpoint.path,
            remedy="Use a complete checkpoint of a training with the same plans; encoders.width can be at most 1.",
        )
    if not any(key.startswith("encoder.") for key in mapped):
        raise NetworkError(
            "No tensor of the pre-trained encoder has the name and shape of one of the network's.",
            where=checkpoint.path,
            remedy="Plan with the residual encoder that was pre-trained, e.g. --residual L.",
        )


def stock_key(key: str, first_shared: int) -> tuple[str | None, int | None]:
    """The stock network's name for one of our network's tensors, and the branch that it belongs to, if any.

    Args:
        key: name in our network.
        first_shared: first stage of the shared trunk.

    Returns:
        (None, None) for parts that the stock network does not have.
    """
    parts = key.split(".")
    if parts[:2] == ["encoder", "branches"]:
        return ".".join(["encoder", *parts[3:]]), int(parts[2])
    if parts[:2] == ["encoder", "trunk"]:
        return ".".join(["encoder", "stages", str(first_shared + int(parts[2])), *parts[3:]]), None
    return (key if parts[0] == "decoder" else None), None


def _part(stock: Tensor, target: Tensor, branch: int | None) -> Tensor | None:
    """The channels of a stock tensor that a branch takes, elsewhere the whole tensor; None if the shapes do not fit."""
    if branch is None:
        return stock if stock.shape == target.shape else None
    if stock.ndim != target.ndim or stock.shape[2:] != target.shape[2:]:
        return None
    for axis in range(min(stock.ndim, 2)):
        available, wanted = stock.shape[axis], target.shape[axis]
        if wanted > available:
            return None
        stock = stock.index_select(axis, kept_features(available, wanted, branch))
    return stock


def _average(network: AlignRefineUNet) -> tuple[str, ...]:
    """Make every fusion the average of the branches that carry a feature."""
    keys = []
    for stage, fusion in enumerate(network.encoder.fusions):
        if not isinstance(fusion, AverageFusion):
            continue
        width = network.encoder.output_channels[stage]
        chosen = [kept_features(width, conv.weight.shape[1], branch) for branch, conv in enumerate(fusion.convs)]
        carriers = torch.bincount(torch.cat(chosen), minlength=width).clamp(min=1)
        for branch, (conv, features) in enumerate(zip(fusion.convs, chosen, strict=True)):
            conv.weight.zero_()
            conv.weight[features, torch.arange(len(features))] = (1 / carriers[features]).view(
                -1, *(1,) * (conv.weight.ndim - 2)
            )
            keys.append(f"encoder.fusions.{stage}.convs.{branch}.weight")
    return tuple(keys)


def _ignored(weights: Mapping[str, Tensor], used: set[str]) -> dict[str, str]:
    """Stock keys that nothing uses. The stock decoder repeats its encoder's weights under names of its own."""
    reasons = {}
    for key in weights:
        if key not in used:
            copy_of = key.removeprefix("decoder.")
            copies = key.startswith("decoder.encoder.") and copy_of in used
            reasons[key] = f"the same tensor as {copy_of}" if copies else "no counterpart"
    return reasons
