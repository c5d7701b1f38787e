"""The network as the sliding window sees it: what the text did, in channels behind the logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nnunetv2_textguided.network import AlignRefineUNet
from nnunetv2_textguided.network.grounding import CaseInput
from nnunetv2_textguided.text.case_text import CaseText

HEATMAP_SCALE = 64.0
"""Heatmaps are accumulated times this. The window's weights fall below 1e-7 in its corners, and the accumulator's half
precision would round a small probability times that to nothing; a power of two costs no digit."""


def unscaled(values: np.ndarray) -> np.ndarray:
    """Accumulated heatmaps or sentences' maps as probabilities: what windows add up to can leave [0, 1] by rounding."""
    return np.clip(values / HEATMAP_SCALE, 0, 1)


@dataclass(frozen=True)
class Layout:
    """Channels of a prediction: logits, what prompts and refiner did, what the text of the case did.

    Attributes:
        heads: number of segmentation heads (classes with background, or regions).
        labels: foreground labels or regions, in the order of the heads.
        explained: whether a heatmap and a change map per label are there.
        refined: whether a refiner is at work, so that the change maps mean something.
        sentences: number of maps that say where a sentence is.
        compared: number of predictions with less text, each of `heads` logits.
    """

    heads: int
    labels: tuple[str, ...]
    explained: bool
    refined: bool = False
    sentences: int = 0
    compared: int = 0

    @property
    def channels(self) -> int:
        """All channels."""
        return self.heads * (1 + self.compared) + 2 * len(self.labels) * self.explained + self.sentences

    @property
    def heatmap(self) -> slice:
        """Channels of the heatmaps, one per label."""
        return slice(self.heads, self.heads + len(self.labels))

    @property
    def change(self) -> slice:
        """Channels of the change maps, one per label."""
        return slice(self.heads + len(self.labels), self.heads + 2 * len(self.labels))

    @property
    def grounded(self) -> slice:
        """Channels of the sentences' maps."""
        first = self.heads + 2 * len(self.labels) * self.explained
        return slice(first, first + self.sentences)

    def less(self, number: int) -> slice:
        """Logits of a prediction with less text."""
        first = self.grounded.stop + number * self.heads
        return slice(first, first + self.heads)

    def told(self, text: CaseText) -> Layout:
        """The layout for a case of which the network is told this."""
        return replace(self, sentences=len(text.findings), compared=compared(text)) if text else self

    def head_of(self, label: str) -> int:
        """The segmentation head of a label; heads of classes begin with the background."""
        return self.labels.index(label) + self.heads - len(self.labels)


def parts_of(text: CaseText) -> int:
    """Of how many parts a text is: its sentences, and its clinical facts together."""
    return len(text.findings) + bool(text.clinical)


def compared(text: CaseText) -> int:
    """With how many lesser texts a text is compared: with none at all, and without each of several parts."""
    parts = parts_of(text)
    return parts + 1 if parts > 1 else parts


@dataclass(frozen=True)
class Told:
    """What a network is told of one case.

    Attributes:
        sentences: (S, L, D) tokens; S may be 0.
        facts: (F,) clinical facts; None: none is known.
    """

    sentences: Tensor
    facts: Tensor | None

    def inputs(self) -> list[CaseInput | None]:
        """All of it, nothing, and, where there are several parts, all but each of them: see `compared`."""
        count = len(self.sentences)
        everything: list[CaseInput | None] = [self._without(None), None]
        if count + (self.facts is not None) < 2:
            return everything
        without = [self._without(number) for number in range(count)]
        return everything + without + ([] if self.facts is None else [self._without(count)])

    def _without(self, part: int | None) -> CaseInput:
        count, facts = len(self.sentences), None if part == len(self.sentences) else self.facts
        if not count:
            return CaseInput(None, None, None if facts is None else facts[None])
        sentences = self.sentences.clone()
        if part is not None and part < count:
            sentences[part] = 0  # rows of zeros say nothing
        return CaseInput(None, sentences[None], None if facts is None else facts[None])


class ExplainingNetwork(nn.Module):
    """AlignRefineUNet whose output has the text's channels behind its logits.

    nnU-Net's sliding window treats channels alike, so maps are averaged over windows, mirrorings and folds with the
    same weights as the logits, and the logits stay bit by bit what they are without them. Maps are averaged as
    probabilities: their logits reach the hundreds, which the window's half-precision accumulator could not hold.

    Args:
        network: the network.
        maps: add heatmaps and change maps.
        texts: what it is told of the case; the logits behind the first are added.
    """

    def __init__(
        self, network: AlignRefineUNet, maps: bool = True, texts: Sequence[CaseInput | None] = (None,)
    ) -> None:
        super().__init__()
        self.network, self.maps, self.texts = network, maps, tuple(texts)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load the weights of the wrapped network, under the names that checkpoints give them."""
        return self.network.load_state_dict(state_dict, strict, assign)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, *S) images to (B, Layout.channels, *S): probabilities times HEATMAP_SCALE.

        The change map of a class is what the refiner added to its logit relative to the background's (a softmax does
        not see what is added to all), that of a region what it added to the region's logit.
        """
        found, *less = self.network.explain_each(x, [_on(text, x) for text in self.texts])
        parts = []
        if self.maps:
            regions = found.change.shape[1] == found.heatmap.shape[1]
            change = found.change if regions else found.change[:, 1:] - found.change[:, :1]
            parts += [found.heatmap * HEATMAP_SCALE, change]
        if found.sentences is not None:
            parts.append(found.sentences * HEATMAP_SCALE)
        # The logits' own type: under autocast, another one would make nnU-Net add up mirrored logits in another type.
        others = [part.to(found.logits.dtype) for part in (*parts, *(each.logits for each in less))]
        return torch.cat([found.logits, *others], dim=1)


def _on(text: CaseInput | None, x: Tensor) -> CaseInput | None:
    """A text for each image of a batch, on its device."""
    if text is None:
        return None
    each = [None if part is None else part.to(x.device).expand(len(x), *part.shape[1:]) for part in text[1:]]
    return CaseInput(None, *each)
