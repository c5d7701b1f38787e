"""RECONSTRUCTION of the network and losses that the paper's authors released, to compare costs with. Not their code.

Written from the published description only (one residual encoder per channel with two basic blocks per stage, kernels
always 3x3x3; per level a 3x3x3 convolution of the concatenation, instance norm and LeakyReLU; a shared residual decoder
with nearest-neighbour upsampling and a 1x1 convolution; alignment at the bottleneck, upsampled to the image; a refiner
over the full volume with one pooled text token; training in two stages). It costs what the original costs as far as
`make bench` can tell (docs/performance.md); it is no substitute for it in anything else, and nothing of the package
imports it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from dynamic_network_architectures.building_blocks.residual import StackedResidualBlocks
from dynamic_network_architectures.building_blocks.residual_encoders import ResidualEncoder
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from torch import Tensor, nn
from torch.nn import functional as F

from nnunetv2_textguided.losses.segmentation import SegmentationLoss
from nnunetv2_textguided.settings.presets import load_preset, resolve

CONVOLUTION: dict[str, Any] = {
    "conv_op": nn.Conv3d,
    "conv_bias": True,
    "norm_op": nn.InstanceNorm3d,
    "norm_op_kwargs": {"eps": 1e-5, "affine": True},
    "nonlin": nn.LeakyReLU,
    "nonlin_kwargs": {"inplace": True},
}
TEXT_WIDTH = 512


class FullVolumeRefiner(nn.Module):
    """Cross-attention from every voxel to one pooled text token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.text = nn.Linear(TEXT_WIDTH, width)
        self.attention = nn.MultiheadAttention(width, 4, dropout=0.1, batch_first=True)
        self.gamma = nn.Parameter(torch.tensor(0.1))

    def forward(self, logits: Tensor, features: Tensor, text: Tensor, head: nn.Module) -> Tensor:
        batch, width, *size = features.shape
        voxels = self.norm(features.flatten(2).transpose(1, 2))
        token = self.text(text).expand(batch, 1, width)
        change, _ = self.attention(voxels, token, token, need_weights=False)
        change = torch.tanh(self.gamma) * change.transpose(1, 2).reshape(batch, width, *size)
        gate = (torch.sigmoid(logits[:, 1:2]) > 0.44).to(logits.dtype)
        refined: Tensor = logits + 0.12 * gate * head(change)
        return refined


class ReleasedNetwork(nn.Module):
    """Multi-encoder residual U-Net with alignment at the bottleneck; `refine` adds the second stage's refiner."""

    def __init__(self, widths: Sequence[int], strides: Sequence[Sequence[int]], channels: int, refine: bool) -> None:
        super().__init__()
        stages = len(widths)
        self.encoders = nn.ModuleList(
            ResidualEncoder(
                1, stages, list(widths), kernel_sizes=3, strides=strides, n_blocks_per_stage=2, return_skips=True,
                **CONVOLUTION,
            )
            for _ in range(channels)
        )  # fmt: skip
        self.fusions = nn.ModuleList(
            nn.Sequential(
                nn.Conv3d(channels * width, width, 3, padding=1),
                nn.InstanceNorm3d(width, affine=True),
                nn.LeakyReLU(inplace=True),
            )
            for width in widths
        )
        below = list(zip(widths[1:], widths[:-1], strides[1:], strict=True))[::-1]
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Upsample(scale_factor=tuple(map(float, stride))), nn.Conv3d(wide, narrow, 1))
            for wide, narrow, stride in below
        )
        self.stages = nn.ModuleList(
            StackedResidualBlocks(
                2, input_channels=2 * narrow, output_channels=narrow, kernel_size=3, initial_stride=1, **CONVOLUTION
            )
            for _, narrow, _ in below
        )
        self.heads = nn.ModuleList(nn.Conv3d(narrow, 2, 1) for _, narrow, _ in below)
        self.image_projection = nn.Conv3d(widths[-1], TEXT_WIDTH, 1)
        self.text_projection = nn.Linear(TEXT_WIDTH, TEXT_WIDTH)
        self.register_buffer("text", torch.randn(1, TEXT_WIDTH))
        self.refiner = FullVolumeRefiner(widths[0]) if refine else None

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Logits, finest first, and the similarity in (0, 1), both for the whole image."""
        pyramids = [encoder(x[:, i : i + 1]) for i, encoder in enumerate(self.encoders)]
        skips = [f(torch.cat(level, dim=1)) for f, level in zip(self.fusions, zip(*pyramids, strict=True), strict=True)]
        features, outputs = skips[-1], []
        for level, (up, stage, head) in enumerate(zip(self.ups, self.stages, self.heads, strict=True)):
            features = stage(torch.cat((up(features), skips[-(level + 2)]), dim=1))
            outputs.append(head(features))
        if self.refiner is not None:
            outputs[-1] = self.refiner(outputs[-1], features, self.text, self.heads[-1])
        image = F.normalize(self.image_projection(skips[-1]), dim=1)
        words = F.normalize(self.text_projection(self.text), dim=1)
        cosine = torch.einsum("bd...,kd->bk...", image, words)
        similarity = torch.sigmoid(F.interpolate(cosine, x.shape[2:], mode="trilinear", align_corners=False))
        return outputs[::-1], similarity


class ReleasedLoss(nn.Module):
    """Focal Tversky and top-k cross-entropy; in the first stage also alignment and heatmap loss, at full size."""

    def __init__(self, outputs: int, auxiliary: bool) -> None:
        super().__init__()
        settings = resolve(load_preset("paper")).segmentation_loss
        weights = [0.5**i for i in range(outputs - 1)] + [0.0]
        self.segmentation = DeepSupervisionWrapper(SegmentationLoss(settings, False, None, False), weights)
        self.auxiliary = auxiliary

    def forward(self, network: nn.Module, data: Tensor, targets: list[Tensor]) -> Tensor:
        outputs, similarity = network(data)
        total: Tensor = self.segmentation(outputs, targets)
        if self.auxiliary:
            mask = (targets[0] > 0).float()
            total = total + 0.2 * (1 - (similarity * mask).sum() / mask.sum().clamp(min=1))
            total = total + 0.5 * F.binary_cross_entropy(similarity, mask)
        return total
