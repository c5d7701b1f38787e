"""What the plans' stock network offers: its class, its stages, and the one at which the text comes in."""

from __future__ import annotations

import pydoc
from collections.abc import Sequence
from typing import Any

import numpy as np

from nnunetv2_textguided.errors import NetworkError


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
