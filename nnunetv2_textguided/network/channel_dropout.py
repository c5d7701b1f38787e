"""Whole image channels left out at random in training, so that a network learns to do without each (ModDrop).

Neverova et al., "ModDrop: adaptive multi-modal gesture recognition", TPAMI 2016; for segmentation of MRI without all
sequences, Havaei et al., "HeMIS", MICCAI 2016, which likewise averages over the encoders that are there.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ChannelDropout(nn.Module):
    """Factors of the encoders' feature maps: 0 for a channel that is left out, the others raised to make up for it.

    Of n channels of which k are there, each has n / k: fused features, which start as the average over the encoders,
    become the average over those that are there and keep their magnitude.

    Args:
        channels: number of channels.
        probability: of each channel to be left out of a training image, in [0, 1). Never are all left out: where
            chance would have it so, one channel, any of them, stays.

    Attributes:
        missing: channels that a case lacks at prediction; their images are not looked at, whatever they hold.
    """

    def __init__(self, channels: int, probability: float) -> None:
        super().__init__()
        self.channels, self.probability = channels, probability
        self.missing: frozenset[int] = frozenset()

    def forward(self, x: Tensor) -> Tensor | None:
        """(B, channels) float32 factors for (B, channels, *S) images; None where no channel is left out.

        Raises:
            ValueError: all channels are missing.
        """
        if self.training and self.probability > 0:
            chance = torch.rand(len(x), self.channels, device=x.device)
            # The largest number of a row is that of a channel that stays, in any case.
            there = (chance >= self.probability) | (chance == chance.amax(dim=1, keepdim=True))
        elif self.missing:
            if len(self.missing) >= self.channels:
                raise ValueError("All channels are missing: there is nothing to look at.")
            present = [channel not in self.missing for channel in range(self.channels)]
            there = torch.tensor(present, device=x.device).expand(len(x), -1)
        else:
            return None
        return there * (self.channels / there.sum(dim=1, keepdim=True))


def weighted(features: Tensor, factor: Tensor) -> Tensor:
    """(B, width, *S) features times a factor (B,) for each image, in the features' own precision."""
    return features * factor.to(features.dtype).view(-1, *[1] * (features.ndim - 1))
