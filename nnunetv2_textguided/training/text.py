"""The text of a training: which labels, which embeddings, and the controls that replace them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from nnunetv2_textguided.errors import SettingsError
from nnunetv2_textguided.settings import ResolvedText, Settings
from nnunetv2_textguided.text.resolve import resolve_text


@dataclass(frozen=True)
class TrainingText:
    """What the network is told.

    Attributes:
        resolved: the description that goes into the plans.
        pooled: (K, D) one embedding per prompt, controls applied.
        tokens: (N, T) token embeddings, or None.
    """

    resolved: ResolvedText
    pooled: Tensor
    tokens: Tensor | None


def load_text(
    settings: Settings, labels: list[str], dataset_folder: Path | None, anatomy: Sequence[str] = ()
) -> TrainingText:
    """Find the embeddings and apply the control that the settings ask for.

    Args:
        settings: complete settings that use text.
        labels: foreground labels in the order of the segmentation heads.
        dataset_folder: the data set's folder in nnUNet_preprocessed.
        anatomy: anatomical structures that have prompts, too.

    Raises:
        EmbeddingFileError: no, stale or damaged embeddings.
        SettingsError: the control is impossible with these prompts.
    """
    want_tokens = settings.refiner.tokens == "tokens" and "refiner" in settings.components
    named = [*labels, *anatomy]
    embeddings, resolved = resolve_text(
        settings.text, named, dataset_folder, want_tokens=want_tokens, want_words=settings.grounding.enabled
    )
    resolved = resolved.model_copy(update={"anatomy": len(anatomy)})
    pooled = torch.from_numpy(np.ascontiguousarray(embeddings.pooled, dtype=np.float32))
    tokens = None
    if want_tokens and embeddings.tokens is not None:
        tokens = torch.from_numpy(np.ascontiguousarray(embeddings.tokens, dtype=np.float32))
    control, seed = settings.text.control, settings.text.control_seed
    if control == "random":
        pooled = random_like(pooled, seed)
        tokens = None if tokens is None else random_like(tokens, seed + 1)
    elif control == "shuffled":
        if tokens is not None:
            raise SettingsError(
                "The shuffled control exists for pooled embeddings only: prompts differ in their number of tokens.",
                where="text_guidance.text.control",
                remedy='Set refiner.tokens to "pooled".',
            )
        pooled = pooled[derangement(len(pooled), seed)]
    return TrainingText(resolved, spread(pooled, settings.text.geometry), tokens)


def spread(embeddings: Tensor, geometry: Literal["raw", "centred", "whitened"]) -> Tensor:
    """Take prompts apart that an encoder puts close together.

    Prompts of one domain have cosines of 0.6 and more (docs/text.md): what they share says nothing about which of
    them a voxel resembles, and it is most of what they are. One prompt alone has nothing to be told apart from and
    stays as it is.

    Args:
        embeddings: (K, D), of any length.
        geometry: "raw" changes nothing. "centred" subtracts the mean over prompts. "whitened" also makes them as
            orthogonal as their number allows, by the nearest such set (the polar factor). Both give unit length.

    Returns:
        (K, D).
    """
    if geometry == "raw" or len(embeddings) < 2:
        return embeddings
    centred = embeddings.double() - embeddings.double().mean(dim=0)
    if geometry == "whitened":
        left, values, right = torch.linalg.svd(centred, full_matrices=False)
        # Directions that hold nothing (the mean that was taken away, duplicates) must not be blown up to noise.
        kept = (values > 1e-6 * values.max().clamp(min=1e-12)).to(values.dtype)
        centred = (left * kept) @ right
    return torch.nn.functional.normalize(centred, dim=1, eps=1e-6).float()


def random_like(embeddings: Tensor, seed: int) -> Tensor:
    """Gaussian vectors of the same shape (K, D) and the same lengths, without any meaning."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.nn.functional.normalize(torch.randn(embeddings.shape, generator=generator), dim=1)
    return noise * embeddings.norm(dim=1, keepdim=True)


def derangement(count: int, seed: int) -> Tensor:
    """A random order of `count` items (int64) in which none keeps its place.

    Raises:
        SettingsError: there is only one item.
    """
    if count < 2:
        raise SettingsError(
            "One prompt cannot be shuffled.",
            where="text_guidance.text.control",
            remedy="Use a bank with several prompts, or the random control.",
        )
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(count, generator=generator)
        if not (order == torch.arange(count)).any():
            return order
