"""One encoder per image channel, fused back to the plans' width at every level."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nnunetv2_textguided.errors import NetworkError
from nnunetv2_textguided.network.channel_dropout import ChannelDropout, weighted

Builder = Callable[[int, Sequence[int]], Any]
"""(input channels, features per stage) -> an encoder of the plans' class."""


class AverageFusion(nn.Module):
    """Fuse the feature maps of several encoders: the sum of one 1x1 convolution per encoder.

    This equals a 1x1 convolution of the concatenation, without the copy that a concatenation makes and keeps for the
    backward pass. Where input and output width agree it starts as the average of the encoders, so that a network
    converted from stock weights starts close to the stock network.

    Args:
        conv_op: nn.Conv2d or nn.Conv3d.
        branches: number of encoders.
        width_in: channels of each encoder's feature map.
        width_out: channels of the fused map (the plans' width).
    """

    convs: Any  # a ModuleList of convolutions; torch types its items too loosely to be used

    def __init__(self, conv_op: Callable[..., nn.Module], branches: int, width_in: int, width_out: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(conv_op(width_in, width_out, 1, bias=i == 0) for i in range(branches))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start as the average over the encoders (or, if the width changes, as a random map of equal variance)."""
        with torch.no_grad():
            for conv in self.convs:
                weight: Tensor = conv.weight
                if weight.shape[0] == weight.shape[1]:
                    weight.copy_((torch.eye(weight.shape[0]) / len(self.convs)).view_as(weight))
                else:
                    nn.init.normal_(weight, std=(weight.shape[1] * len(self.convs)) ** -0.5)
                if conv.bias is not None:
                    conv.bias.zero_()

    def forward(self, features: Sequence[Tensor], factors: Tensor | None = None) -> Tensor:
        """Fuse `features`, one (B, width_in, *S) per encoder, into (B, width_out, *S).

        Args:
            features: the encoders' feature maps.
            factors: (B, branches) of each encoder's map; None: they count as they are.
        """
        if factors is not None:
            features = [weighted(one, factor) for one, factor in zip(features, factors.unbind(1), strict=True)]
        fused = self.convs[0](features[0])
        for conv, feature in zip(self.convs[1:], features[1:], strict=True):
            # In place: no convolution needs its own output for the backward pass.
            fused += conv(feature)
        return fused


class MultiEncoder(nn.Module):
    """Encoders of the plans' class and arguments, one per input channel (paper section II; docs/method.md, Network).

    With one channel (or one encoder for all channels) and the plans' width it *is* the plans' encoder: nothing is
    fused. Stages from `shared_from_stage` on form one trunk that continues from the fused features.

    Args:
        build: builds one encoder of the plans' class.
        input_channels: image channels.
        features: the plans' features per stage.
        arrangement: "per_channel", or "single" for one encoder on all channels.
        width: width of the per-channel encoders relative to `features`.
        shared_from_stage: first stage of the shared trunk; None: every stage is per channel.
        checkpointing: "none" keeps all feature maps for the backward pass; "stages" keeps those between stages and
            computes the others again.
        channel_dropout: probability of each channel to be left out of a training image (channel_dropout.py).

    Raises:
        NetworkError: `shared_from_stage` is not a stage after the first.
    """

    branches: Any
    trunk: Any

    def __init__(
        self,
        build: Builder,
        input_channels: int,
        features: Sequence[int],
        arrangement: str = "per_channel",
        width: float = 1.0,
        shared_from_stage: int | None = None,
        checkpointing: str = "none",
        channel_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.checkpointing = checkpointing
        count = input_channels if arrangement == "per_channel" else 1
        self.channels_per_encoder = input_channels // count
        narrow = [scaled_width(f, width) for f in features]
        plain = count == 1 and narrow == list(features)
        self.first_shared = len(features) if shared_from_stage is None or plain else shared_from_stage
        if not 1 <= self.first_shared <= len(features):
            raise NetworkError(
                f"shared_from_stage is {shared_from_stage}, but the network's stages are 0 to {len(features) - 1}.",
                where="text_guidance.encoders.shared_from_stage",
                remedy=f"Choose 1 to {len(features) - 1}, or null for encoders that share nothing.",
            )
        encoders = [build(self.channels_per_encoder, narrow) for _ in range(count)]
        template = build(self.channels_per_encoder, features) if self.first_shared < len(features) else encoders[0]
        self.trunk = nn.ModuleList(template.stages[self.first_shared :])
        for encoder in encoders:
            encoder.stages = encoder.stages[: self.first_shared]
        self.branches = nn.ModuleList(encoders)
        self.fusions = nn.ModuleList(
            nn.Identity() if plain else AverageFusion(template.conv_op, count, narrow[stage], features[stage])
            for stage in range(self.first_shared)
        )
        self.channel_dropout = ChannelDropout(count, channel_dropout)
        # What dynamic-network-architectures' decoders read from an encoder.
        self.output_channels = list(features)
        self.strides: list[list[int]] = template.strides
        self.kernel_sizes: Any = template.kernel_sizes
        self.conv_op: Callable[..., nn.Module] = template.conv_op

    def forward(self, x: Tensor) -> list[Tensor]:
        """Encode (B, channels, *S) into one fused feature map per stage, finest first."""
        inputs = torch.split(x, self.channels_per_encoder, dim=1)
        branches = [
            branch.stem(part) if getattr(branch, "stem", None) is not None else part
            for branch, part in zip(self.branches, inputs, strict=True)
        ]
        factors = self.channel_dropout(x)
        skips: list[Tensor] = []
        for stage, fusion in enumerate(self.fusions):
            branches = [
                self._run(branch.stages[stage], part) for branch, part in zip(self.branches, branches, strict=True)
            ]
            skips.append(fusion(branches, factors) if isinstance(fusion, AverageFusion) else branches[0])
        for stage_module in self.trunk:
            skips.append(self._run(stage_module, skips[-1]))
        return skips

    def _run(self, stage: Any, x: Tensor) -> Tensor:
        """One stage of one encoder, whose inner feature maps are kept or computed again in the backward pass."""
        if self.checkpointing == "none" or not torch.is_grad_enabled():
            output: Tensor = stage(x)
            return output
        again: Tensor = checkpoint(stage, x, use_reentrant=False)
        return again


def scaled_width(features: int, width: float) -> int:
    """`features` times `width`, a multiple of 8 where that is possible (tensor cores), at least 1."""
    if width == 1.0:
        return features
    scaled = features * width
    return max(8 * round(scaled / 8), 8) if features % 8 == 0 else max(round(scaled), 1)
