"""Feature maps counted as nnU-Net's planners count them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn

from nnunetv2_textguided.network.alignment import AlignmentHead
from nnunetv2_textguided.network.encoders import MultiEncoder


def count_encoder(encoder: MultiEncoder, input_size: Sequence[int]) -> np.int64:
    """Elements of an encoder's feature maps for one patch of `input_size` voxels.

    nnU-Net counts a convolution's output once, where a training step keeps two tensors of that size (before and after
    normalisation). Fusions add none: they read feature maps that are kept anyway, and a sum keeps nothing.
    """
    total = np.int64(0)
    for branch in encoder.branches:
        counted: Any = branch
        total += counted.compute_conv_feature_map_size(input_size)
    size = list(input_size)
    for stage, stride in enumerate(encoder.strides):
        if stage >= encoder.first_shared:
            shared: Any = encoder.trunk[stage - encoder.first_shared]
            # A plain encoder wraps the blocks of a stage in a Sequential, which cannot count.
            shared = shared[-1] if isinstance(shared, nn.Sequential) else shared
            total += shared.compute_conv_feature_map_size(size)
        size = [n // s for n, s in zip(size, stride, strict=True)]
    return total


def count_alignment(head: AlignmentHead, prompts: int, grid: Sequence[int]) -> np.int64:
    """Elements of an alignment head's feature maps on a grid of `grid` voxels.

    float32 throughout, hence twice what half precision would take: features, projections, similarities.
    """
    projection = head.image_projection
    return np.int64((projection.in_features + projection.out_features + 2 * prompts) * math.prod(grid))
