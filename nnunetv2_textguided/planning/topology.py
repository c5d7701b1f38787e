"""Network topologies in plans: nnU-Net's, that of other plans, and how our network is named."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from nnunetv2_textguided.errors import PlanningError
from nnunetv2_textguided.network.from_plans import NETWORK_CLASS
from nnunetv2_textguided.nnunet.plans import merged_configuration
from nnunetv2_textguided.settings import BLOCK
from nnunetv2_textguided.settings.presets import resolve

MIN_BATCH_SIZE = 2
"""nnU-Net's least batch size."""


def text_guided_plan(plan: Mapping[str, Any], block: dict[str, Any]) -> dict[str, Any]:
    """A configuration's plan for the stock network, made to name ours with its `text_guidance` block."""
    architecture = plan["architecture"]
    kwargs = {**architecture["arch_kwargs"], "backbone": architecture["network_class_name"]}
    kwargs[BLOCK] = resolve(block).block()
    return {
        **plan,
        "architecture": {**architecture, "network_class_name": NETWORK_CLASS, "arch_kwargs": kwargs},
        BLOCK: block,
    }


def stock_architecture(architecture: Mapping[str, Any]) -> dict[str, Any]:
    """The stock network's `architecture` block behind one that may name ours."""
    kwargs = {key: value for key, value in architecture["arch_kwargs"].items() if key not in ("backbone", BLOCK)}
    name = architecture["arch_kwargs"].get("backbone", architecture["network_class_name"])
    return {**architecture, "network_class_name": name, "arch_kwargs": kwargs}


def with_topology(plan: Mapping[str, Any], plans: Mapping[str, Any], configuration: str) -> dict[str, Any]:
    """A plan with the network, patch and batch of another plan's configuration of the same name.

    Raises:
        PlanningError: there is no such configuration, or its network is of another family.
    """
    where = f"configuration {configuration} of {plans.get('plans_name', 'the other plans')}"
    if configuration not in plans["configurations"]:
        raise PlanningError("There is no such configuration.", where=where, remedy="Plan without --topology-of.")
    other = merged_configuration(plans, configuration)
    architecture = stock_architecture(other["architecture"])
    if architecture["network_class_name"] != plan["architecture"]["network_class_name"]:
        raise PlanningError(
            f"The topology is that of {architecture['network_class_name']}, not of "
            f"{plan['architecture']['network_class_name']}.",
            where=where,
            remedy="Choose --residual M, L or XL for residual encoders, and leave it out for plain ones.",
        )
    return {
        **plan,
        "architecture": architecture,
        "patch_size": list(other["patch_size"]),
        "batch_size": other["batch_size"],
    }


def shrink_patch(
    patch: Sequence[int],
    strides: Sequence[Sequence[int]],
    median_shape: Sequence[float],
    fits: Callable[[Sequence[int]], bool],
    where: str,
) -> list[int]:
    """The first patch that fits, of those that the network's strides divide.

    As nnU-Net does, the axis that is largest relative to the median image is reduced first.

    Args:
        patch: the patch to start from.
        strides: per encoder stage, the stride of each axis.
        median_shape: median image size in voxels.
        fits: whether a patch fits the memory target.
        where: names the configuration in errors.

    Raises:
        PlanningError: not even the smallest patch fits.
    """
    divisor = np.prod(np.array(strides), axis=0)
    size = np.array(patch, dtype=int)
    while not fits(size.tolist()):
        # At least two voxels per axis at the bottleneck: with one in all, there would be nothing to normalise.
        possible = [axis for axis in range(len(size)) if size[axis] >= 3 * divisor[axis]]
        if not possible:
            raise PlanningError(
                f"Not even a patch of {' x '.join(map(str, size))} voxels fits the memory target with this topology.",
                where=where,
                remedy="Raise --gpu-memory, use --constant-cost, or plan without --topology-of.",
            )
        axis = max(possible, key=lambda i: size[i] / median_shape[i])
        size[axis] -= divisor[axis]
    return [int(n) for n in size]
