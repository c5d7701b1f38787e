"""What is compared: networks on the plans that nnU-Net makes for PI-CAI, and one training step of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nnunetv2_textguided.network.from_plans import build_from_architecture
from nnunetv2_textguided.planning.step import Labels, step_loss
from nnunetv2_textguided.settings import Settings
from nnunetv2_textguided.settings.presets import resolve
from nnunetv2_textguided.training.optimiser import build_optimiser
from tests.networks import architecture, block, fill_text
from tests.planning.stock import stock_network

LESION = Labels(("csPCa",), regions=False)
PATCH = (16, 128, 128)
FULL_SIZE = (20, 320, 320)
WIDTHS = (32, 64, 128, 256, 320, 320)
DEFAULT_BANK: dict[str, Any] = {"prompts_per_label": (6,), "context": 12, "embedding_dim": 384}
"""The numbers of prompts in the default bank, and the width of the packaged embeddings."""

BATCH = 2
"""nnU-Net's smallest batch. With one patch, torch convolves few channels by a slow path that no training takes."""

NO_TEXT: dict[str, Any] = {"components": []}
NARROW: dict[str, Any] = {"encoders": {"width": 0.625}}
SHARED: dict[str, Any] = {"encoders": {"shared_from_stage": 1}}
"""What `plan --constant-cost narrow` and `... shared` choose for PI-CAI (docs/planning.md)."""


def picai_plans(shrink: int = 1) -> dict[str, Any]:
    """The architecture that nnU-Net plans for PI-CAI in six stages, with widths divided by `shrink`."""
    plans = architecture("plain", 3, [width // shrink for width in WIDTHS])
    stages = len(WIDTHS)
    plans["arch_kwargs"] |= {
        "kernel_sizes": [[1, 3, 3], [1, 3, 3], *([[3, 3, 3]] * (stages - 2))],
        "strides": [[1, 1, 1], [1, 2, 2], [1, 2, 2], [2, 2, 2], [2, 2, 2], [1, 2, 2]],
        "n_conv_per_stage": [2] * stages,
        "n_conv_per_stage_decoder": [2] * (stages - 1),
    }
    return plans


def guided(
    *overrides: Mapping[str, Any],
    shrink: int = 1,
    channels: int = 3,
    heads: int = 2,
    deep_supervision: bool = True,
    **text: Any,
) -> tuple[nn.Module, Settings]:
    """Our network, every part of it at work, and its settings."""
    guidance = block(*overrides, **{**DEFAULT_BANK, **text})
    network: Any = build_from_architecture(picai_plans(shrink), resolve(guidance), channels, heads, deep_supervision)
    fill_text(network, guidance["text"]["resolved"])
    if network.refiner is not None:
        network.refiner.alpha.fill_(1.0)
    return network, resolve(guidance)


def stock(shrink: int = 1, channels: int = 3, heads: int = 2) -> nn.Module:
    """nnU-Net's own network on the same plans."""
    return stock_network(picai_plans(shrink), channels, heads, deep_supervision=True)


def targets(patch: Sequence[int], labels: Labels = LESION, batch: int = BATCH) -> list[Tensor]:
    """A label map with one box of a hundredth of the patch, at each size that deep supervision compares."""
    full = torch.zeros(batch, 1, *patch)
    box = tuple(slice(n // 2, n // 2 + max(1, round(n * 0.215))) for n in patch)
    full[(..., *box)] = labels.heads - 1
    sizes, size = [list(patch)], list(patch)
    for stride in picai_plans()["arch_kwargs"]["strides"][1:-1]:
        size = [n // s for n, s in zip(size, stride, strict=True)]
        sizes.append(size)
    return [nn.functional.interpolate(full, size).to(torch.int16) for size in sizes]


Loss = Callable[[Any, Tensor, list[Tensor]], Tensor]


def training_step(
    network: nn.Module,
    settings: Settings | None,
    patch: Sequence[int] = PATCH,
    *,
    channels: int = 3,
    labels: Labels = LESION,
    loss: Loss | None = None,
) -> Callable[[], None]:
    """One optimisation step on nnU-Net's smallest batch: loss, gradients, clipping and SGD as the trainers do it.

    Args:
        network: the network.
        settings: of a text-guided training; None: stock nnU-Net's loss and optimiser.
        patch: patch size in voxels.
        channels: image channels.
        labels: the data set's labels.
        loss: another loss than the settings', of (network, images, targets).
    """
    torch.manual_seed(0)
    data, truth = torch.randn(BATCH, channels, *patch), targets(patch, labels)
    loss = loss or step_loss(labels, settings)
    weights: Any = network
    if settings is None:
        optimiser = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.99, nesterov=True, weight_decay=3e-5)
    else:
        # A rate at which nothing moves far: what is timed in the last repetition is what was timed in the first.
        optimiser = build_optimiser(weights, settings)
        for group in optimiser.param_groups:
            group["lr"] = 1e-4

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        loss(network, data, truth).backward()
        for group in optimiser.param_groups:
            if group["params"]:
                torch.nn.utils.clip_grad_norm_(group["params"], 12)
        optimiser.step()

    return step
