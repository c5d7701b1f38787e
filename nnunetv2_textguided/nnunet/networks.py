"""The networks that plans name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from torch import nn


def build_network(
    class_name: str,
    kwargs: Mapping[str, Any],
    requires_import: Sequence[str],
    input_channels: int,
    output_channels: int,
    *,
    initialised: bool,
    deep_supervision: bool | None = None,
) -> nn.Module:
    """Build a network from what a configuration's `architecture` block says.

    Args:
        class_name: import path of its class.
        kwargs: its arguments.
        requires_import: those of them that are import paths themselves.
        input_channels: image channels.
        output_channels: segmentation heads.
        initialised: draw the weights as the class itself wants them.
        deep_supervision: return the logits of every decoder stage; None: as the arguments say.
    """
    network: nn.Module = get_network_from_plans(
        class_name,
        dict(kwargs),
        list(requires_import),
        input_channels,
        output_channels,
        allow_init=initialised,
        deep_supervision=deep_supervision,
    )
    return network
