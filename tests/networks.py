"""Tiny plans, texts and networks that several areas' tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional as F

from nnunetv2_textguided.network import AlignRefineUNet
from nnunetv2_textguided.network.from_plans import build_from_architecture
from nnunetv2_textguided.settings.presets import resolve

EMBEDDING_DIM = 12
REQUIRES_IMPORT = ["conv_op", "norm_op", "dropout_op", "nonlin"]


def architecture(family: str = "plain", dim: int = 3, features: Sequence[int] = (8, 16, 24)) -> dict[str, Any]:
    """The `architecture` block of tiny plans: `family` "plain" or "residual", 2D or 3D."""
    stages = len(features)
    kwargs: dict[str, Any] = {
        "n_stages": stages,
        "features_per_stage": list(features),
        "conv_op": f"torch.nn.modules.conv.Conv{dim}d",
        "kernel_sizes": [[3] * dim] * stages,
        "strides": [[1] * dim, *([[1, 2, 2][-dim:]] * (stages - 1))],
        "n_conv_per_stage_decoder": [1] * (stages - 1),
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dim}d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    kwargs["n_conv_per_stage" if family == "plain" else "n_blocks_per_stage"] = [1] * stages
    name = "PlainConvUNet" if family == "plain" else "ResidualEncoderUNet"
    return {
        "network_class_name": f"dynamic_network_architectures.architectures.unet.{name}",
        "arch_kwargs": kwargs,
        "_kw_requires_import": REQUIRES_IMPORT,
    }


def resolved_text(prompts_per_label: Sequence[int] = (2,), context: int = 2, **changes: Any) -> dict[str, Any]:
    """What the trainer writes about the text: labels c0, c1, ... with the given numbers of prompts."""
    index = [label for label, count in enumerate(prompts_per_label) for _ in range(count)] + [-1] * context
    return {
        "source": "test",
        "file_sha256": "0" * 64,
        "prompts_sha256": "0" * 64,
        "encoder": {"id": "test"},
        "labels": [f"c{label}" for label in range(len(prompts_per_label))],
        "prompts": [f"prompt {i}" for i in range(len(index))],
        "prompt_label": index,
        "embedding_dim": EMBEDDING_DIM,
        **changes,
    }


def block(*overrides: Mapping[str, Any], **text: Any) -> dict[str, Any]:
    """A complete `text_guidance` block."""
    return resolve({"text": {"resolved": resolved_text(**text)}}, *overrides).block()


def network(
    *overrides: Mapping[str, Any],
    channels: int = 3,
    heads: int = 2,
    deep_supervision: bool = False,
    plans: Mapping[str, Any] | None = None,
    seed: int = 0,
    **text: Any,
) -> AlignRefineUNet:
    """A tiny network with random embeddings in it."""
    torch.manual_seed(seed)
    guidance = block(*overrides, **text)
    net: Any = build_from_architecture(plans or architecture(), resolve(guidance), channels, heads, deep_supervision)
    fill_text(net, guidance["text"]["resolved"])
    return net


def fill_text(net: AlignRefineUNet, resolved: Mapping[str, Any]) -> None:
    """Give a network with text random embeddings of the shapes that its plans describe."""
    if net.alignment is not None:
        pooled = F.normalize(torch.randn(len(resolved["prompts"]), resolved["embedding_dim"]), dim=1)
        tokens = torch.randn(resolved["num_tokens"], resolved["token_dim"]) if resolved["num_tokens"] else None
        net.set_text(pooled, tokens)


def saved_bytes(work: Callable[[], object], given: Iterable[torch.Tensor]) -> int:
    """Bytes that `work` keeps for the backward pass; views of the tensors that are given are not extra memory."""
    known, total = {tensor.untyped_storage().data_ptr() for tensor in given}, 0

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal total
        if tensor.untyped_storage().data_ptr() not in known:
            total += tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        work()
    return total
