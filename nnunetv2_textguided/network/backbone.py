"""What the plans' stock network offers: its class, its stages, and the one at which the text comes in."""

from __future__ import annotations

import pydoc
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from torch import nn

from nnunetv2_textguided.errors import NetworkError
from nnunetv2_textguided.network.encoders import MultiEncoder
from nnunetv2_textguided.settings import Settings


def choose_stage(strides: Sequence[Sequence[int]], stage: int | None, max_stride: int) -> int:
    """The decoder stage at which image and text meet: 0 is the one above the bottleneck.

    Args:
        strides: per encoder stage, the stride of each axis.
        stage: the choice of the settings; None: the coarsest one whose in-plane (last two axes) stride is at most
            `max_stride`, else the finest. (At the bottleneck a 10 mm lesion is a sixth of a voxel.)

    Raises:
        NetworkError: there is no such stage.
    """
    count = len(strides) - 1
    if stage is not None:
        if stage >= count:
            raise NetworkError(
                f"There is no decoder stage {stage}: the network has {count}.",
                where="text_guidance.alignment.stage",
                remedy=f"Choose 0 (coarsest) to {count - 1} (finest), or null.",
            )
        return stage
    total = np.cumprod(np.array(strides), axis=0)
    for candidate in range(count):
        if total[count - 1 - candidate, -2:].max() <= max_stride:
            return candidate
    return count - 1


def build_backbone(
    path: str, kwargs: Mapping[str, Any], input_channels: int, settings: Settings
) -> tuple[MultiEncoder, Any]:
    """Encoders of `input_channels` image channels, and the decoder, of the stock network class at an import path.

    Args:
        path: of the class.
        kwargs: its arguments but the number of input channels.
        input_channels: image channels.
        settings: arrangement and width of the encoders.

    Raises:
        NetworkError: the class is neither of the two families that nnU-Net's planners use.
    """
    backbone_class = locate_backbone(path)

    def build(channels: int, features: Sequence[int]) -> Any:
        network: nn.Module = backbone_class(input_channels=channels, **{**kwargs, "features_per_stage": list(features)})
        return network.apply(backbone_class.initialize)

    features = features_of_each_stage(kwargs["features_per_stage"], kwargs["n_stages"])
    encoder = MultiEncoder(
        lambda channels, widths: build(channels, widths).encoder,
        input_channels,
        features,
        settings.encoders.arrangement,
        settings.encoders.width,
        settings.encoders.shared_from_stage,
        settings.encoders.checkpointing,
        settings.training.channel_dropout,
    )
    decoder = build(1, features).decoder
    # The upstream decoder keeps its encoder as a submodule, only to read sizes from it: the weights would be in every
    # checkpoint twice.
    del decoder.encoder
    decoder.encoder = SimpleNamespace(strides=encoder.strides, output_channels=encoder.output_channels)
    return encoder, decoder


def locate_backbone(path: str) -> Any:
    """The stock network class at an import path.

    Raises:
        NetworkError: it is neither of the two families that nnU-Net's planners use.
    """
    from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet

    located = pydoc.locate(path)
    if not (isinstance(located, type) and issubclass(located, (PlainConvUNet, ResidualEncoderUNet))):
        raise NetworkError(
            f"The network class {path!r} is not supported.",
            where="architecture.network_class_name",
            remedy="Use plans with PlainConvUNet (nnUNetPlans) or ResidualEncoderUNet (nnUNetResEncUNet*Plans).",
        )
    return located


def features_of_each_stage(value: int | Sequence[int], stages: int) -> list[int]:
    """`value` for each of `stages` encoder stages."""
    return [value] * stages if isinstance(value, int) else list(value)
