"""Costs of stock and text-guided networks for one data set, and what nnU-Net's memory targets mean in bytes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from nnunetv2_textguided.anatomy.labels import anatomy_labels
from nnunetv2_textguided.network.from_plans import build_from_architecture
from nnunetv2_textguided.nnunet.labels import read_labels
from nnunetv2_textguided.nnunet.networks import build_network
from nnunetv2_textguided.planning.memory import StepCost, StepCounter
from nnunetv2_textguided.planning.step import Labels
from nnunetv2_textguided.settings import ResolvedText, Settings
from nnunetv2_textguided.text.choose import choose_bank

# Only sizes matter here. The text is resolved when a training starts; BiomedCLIP's widths are the largest there are.
_EMBEDDING_DIM, _TOKEN_DIM, _TOKENS_PER_PROMPT = 512, 768, 12


@dataclass(frozen=True)
class Reference:
    """nnU-Net's calibration: the feature map elements that fill a memory target.

    Attributes:
        elements: feature map elements of one patch, as `compute_conv_feature_map_size` counts them.
        batch_size: the batch size that goes with them.
        gigabytes: the memory target.
    """

    elements: float
    batch_size: int
    gigabytes: float


def dataset_labels(dataset_json: Mapping[str, Any]) -> Labels:
    """Foreground labels or regions of a data set."""
    described = read_labels(dataset_json)
    return Labels(described.foreground, described.regions, tuple(anatomy_labels(dataset_json)))


def assumed_text(settings: Settings, labels: Labels) -> ResolvedText:
    """A description of the text that has the right number of prompts, without reading any embedding.

    Raises:
        PromptBankError: the settings name a bank that is not valid.
    """
    anatomy = labels.aligned(settings)
    bank, _ = choose_bank(settings.text.prompts, [*labels.names, *anatomy])
    tokens = settings.refiner.tokens == "tokens"
    return ResolvedText(
        source="assumed for planning",
        file_sha256="",
        prompts_sha256=bank.sha256,
        encoder={},
        labels=list(bank.labels),
        prompts=list(bank.prompts),
        prompt_label=list(bank.prompt_label),
        embedding_dim=_EMBEDDING_DIM,
        num_tokens=_TOKENS_PER_PROMPT * len(bank.prompts) if tokens else 0,
        token_dim=_TOKEN_DIM if tokens else 0,
        word_dim=_TOKEN_DIM if settings.grounding.enabled else 0,
        anatomy=len(anatomy),
    )


class Estimator:
    """Costs of networks for one data set; every network is counted once.

    What a patch costs is proportional to its voxels (to 0.1 %), so that one count serves all patch sizes of a topology.

    Args:
        channels: image channels.
        labels: the data set's labels.
    """

    def __init__(self, channels: int, labels: Labels) -> None:
        self.channels, self.labels = channels, labels
        self._counter = StepCounter(channels, labels)
        self._seen: dict[str, tuple[int, StepCost]] = {}
        self._bytes_per_element: dict[str, float] = {}
        self._texts: dict[str, ResolvedText] = {}

    def cost(
        self, architecture: Mapping[str, Any], settings: Settings | None, patch: Sequence[int], batch_size: int
    ) -> StepCost:
        """The cost of a training step.

        Args:
            architecture: nnU-Net's block that names the stock network.
            settings: of the text-guided training; None: the stock network itself.
            patch: patch size in voxels.
            batch_size: patches per step.
        """
        parts = () if settings is None else ("components", "encoders", "alignment", "refiner", "segmentation_loss")
        block = {} if settings is None else settings.model_dump(mode="json", include=set(parts))
        key = json.dumps([architecture, block], sort_keys=True, default=str)
        voxels = math.prod(int(n) for n in patch)
        if key not in self._seen:
            count = self._counter.count(lambda: self._build(architecture, settings), {"key": key}, patch, 2, settings)
            self._seen[key] = voxels, count
        counted_voxels, count = self._seen[key]
        share = voxels / counted_voxels
        return replace(
            count,
            activations_per_patch=count.activations_per_patch * share,
            flops_per_patch=count.flops_per_patch * share,
            batch_size=batch_size,
        )

    def _build(self, architecture: Mapping[str, Any], settings: Settings | None) -> nn.Module:
        if settings is not None:
            settings = self._with_text(settings)
            return build_from_architecture(architecture, settings, self.channels, self.labels.heads, True)
        return self._build_stock(architecture, deep_supervision=True)

    def _build_stock(self, architecture: Mapping[str, Any], deep_supervision: bool | None = None) -> nn.Module:
        return build_network(
            architecture["network_class_name"],
            architecture["arch_kwargs"],
            architecture["_kw_requires_import"],
            self.channels,
            self.labels.heads,
            initialised=False,
            deep_supervision=deep_supervision,
        )

    def _with_text(self, settings: Settings) -> Settings:
        if not settings.uses_text:
            return settings
        key = f"{settings.text.prompts} {settings.refiner.tokens}"
        if key not in self._texts:
            self._texts[key] = assumed_text(settings, self.labels)
        return settings.model_copy(update={"text": settings.text.model_copy(update={"resolved": self._texts[key]})})

    def stock_elements(self, architecture: Mapping[str, Any], patch: Sequence[int]) -> int:
        """Feature map elements of the stock network, as nnU-Net's planners count them."""
        with torch.device("meta"):
            network: Any = self._build_stock(architecture)
        return int(network.compute_conv_feature_map_size([int(n) for n in patch]))

    def budget(self, architecture: Mapping[str, Any], patch: Sequence[int], reference: Reference) -> float:
        """Bytes that the stock network of a topology takes when nnU-Net deems its memory target filled.

        nnU-Net calibrates its targets by experience (560 million feature map elements at batch size 2 fill 8 GB): the
        rest of the target is for CUDA, cuDNN's workspaces, gradients of activations and fragmentation, which a count
        of saved bytes cannot see. A multi-encoder network gets as many countable bytes as the stock network would.
        """
        stock = self.cost(architecture, None, patch, reference.batch_size)
        key = json.dumps(architecture, sort_keys=True, default=str)
        if key not in self._bytes_per_element:
            self._bytes_per_element[key] = stock.activations_per_patch / self.stock_elements(architecture, patch)
        return stock.fixed + reference.batch_size * reference.elements * self._bytes_per_element[key]
