"""Build the network that nnU-Net plans describe."""

from __future__ import annotations

import pydoc
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn
from torch._dynamo import OptimizedModule

from nnunetv2_textguided.errors import NetworkError
from nnunetv2_textguided.nnunet.networks import build_network
from nnunetv2_textguided.settings import BLOCK, Settings

NETWORK_CLASS = "nnunetv2_textguided.network.AlignRefineUNet"

# How torch and dynamic-network-architectures refuse arguments: with assertions and whatever goes wrong first.
_REFUSALS = (
    *(AssertionError, TypeError, ValueError, KeyError, IndexError, AttributeError, ImportError, RuntimeError),
    *(ZeroDivisionError, OverflowError, MemoryError, pydoc.ErrorDuringImport),
)


def build_from_architecture(
    architecture: Mapping[str, Any],
    settings: Settings,
    num_input_channels: int,
    num_output_channels: int,
    deep_supervision: bool,
) -> nn.Module:
    """Build AlignRefineUNet from the `architecture` block of a configuration.

    The block may name a stock network, which then becomes the backbone, or AlignRefineUNet itself.

    Args:
        architecture: nnU-Net's block with network_class_name, arch_kwargs and _kw_requires_import.
        settings: the complete settings, with `text.resolved` if text is used.
        num_input_channels: image channels.
        num_output_channels: segmentation heads.
        deep_supervision: return the logits of every decoder stage.

    Raises:
        NetworkError: there is no such network; says what its parts said.
    """
    kwargs = dict(architecture["arch_kwargs"])
    if architecture["network_class_name"] != NETWORK_CLASS:
        kwargs["backbone"] = architecture["network_class_name"]
    # They win over the copy that plans which name AlignRefineUNet have among the arguments.
    kwargs[BLOCK] = settings
    try:
        _check_imports(kwargs, architecture["_kw_requires_import"])
        return build_network(
            *(NETWORK_CLASS, kwargs, architecture["_kw_requires_import"], num_input_channels, num_output_channels),
            initialised=True,
            deep_supervision=deep_supervision,
        )
    except _REFUSALS as e:
        raise NetworkError(
            f"No network can be built from these plans: {type(e).__name__}: {str(e) or 'an assertion failed'}.",
            where=f"architecture ({architecture['network_class_name']})",
            remedy="Plan the data set again, or correct arch_kwargs: one entry per stage in every list.",
        ) from e


def uncompiled(network: Any) -> Any:
    """A network without torch.compile's wrapper."""
    return network._orig_mod if isinstance(network, OptimizedModule) else network


def _check_imports(kwargs: Mapping[str, Any], names: Sequence[str]) -> None:
    """Plans name classes by their import path, and the network calls them with arguments from the plans.

    Raises:
        NetworkError: one is no layer: plans from a stranger could have any function called, os.system for one.
    """
    for name in names:
        path = kwargs[name]
        located = None if path is None else pydoc.locate(path)
        if path is not None and not (isinstance(located, type) and issubclass(located, nn.Module)):
            raise NetworkError(
                f"{path!r} is not a layer (a class derived from torch.nn.Module).",
                where=f"architecture.arch_kwargs.{name}",
            )
