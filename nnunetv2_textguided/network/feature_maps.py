"""Feature maps counted as nnU-Net's planners count them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

if TYPE_CHECKING:
    from nnunetv2_textguided.network.unet import AlignRefineUNet


def count_feature_maps(network: AlignRefineUNet, input_size: Sequence[int]) -> np.int64:
    """Elements of all feature maps for one patch of `input_size` voxels.

    nnU-Net counts a convolution's output once, where a training step keeps two tensors of that size (before and after
    normalisation). Fusions add none: they read feature maps that are kept anyway, and a sum keeps nothing.
    """
    encoder = network.encoder
    total: np.int64 = network.decoder.compute_conv_feature_map_size(input_size)
    for branch in encoder.branches:
        counted: Any = branch
        total += counted.compute_conv_feature_map_size(input_size)
    size, sizes = list(input_size), []
    for stage, stride in enumerate(encoder.strides):
        if stage >= encoder.first_shared:
            shared: Any = encoder.trunk[stage - encoder.first_shared]
            # A plain encoder wraps the blocks of a stage in a Sequential, which cannot count.
            shared = shared[-1] if isinstance(shared, nn.Sequential) else shared
            total += shared.compute_conv_feature_map_size(size)
        size = [n // s for n, s in zip(size, stride, strict=True)]
        sizes.append(size)
    if network.alignment is not None:
        # float32 throughout, hence twice what half precision would take: features, projections, similarities.
        projection = network.alignment.image_projection
        kept = projection.in_features + projection.out_features + 2 * network.text_embeddings.shape[0]
        total += np.int64(kept * math.prod(sizes[-(network.alignment_stage + 2)]))
    return total
