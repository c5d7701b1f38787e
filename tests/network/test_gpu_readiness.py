"""What a GPU asks of a training step, as far as it shows without one: nothing that makes the host wait for the device.

A host that waits leaves the device idle, and a shape that depends on data can be neither compiled nor captured in a
CUDA graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from nnunetv2_textguided.losses.guidance import GuidanceLoss
from nnunetv2_textguided.losses.segmentation import SegmentationLoss
from nnunetv2_textguided.planning.step import Labels, step_loss
from nnunetv2_textguided.settings.presets import load_preset, resolve
from nnunetv2_textguided.training.optimiser import build_optimiser
from tests.networks import architecture, block, network

WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "_unique", "unique", "is_nonzero", "bincount")
"""Operators whose result, or its shape, the host has to read from the device."""


class NoWaiting(TorchDispatchMode):
    """Fails on operators that make the host wait, in the forward and in the backward pass."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        by_mask = name in ("index", "index_put", "index_put_") and any(
            i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1]
        )
        if name.startswith(WAITING) or by_mask:
            raise RuntimeError(f"the host waits for the device in aten::{name}")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).any()),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: torch.masked_select(x, x > 0),
        lambda x: torch.unique(x),
    ],
)
def test_the_check_finds_what_waits(wait: Any) -> None:
    with NoWaiting(), pytest.raises(RuntimeError, match="the host waits"):
        wait(torch.randn(8))


CASES: dict[str, tuple[Mapping[str, Any], Labels, tuple[int, ...]]] = {
    "default": ({}, Labels(("csPCa",), False), (2,)),
    "checkpointing": ({"encoders": {"checkpointing": "stages"}}, Labels(("csPCa",), False), (2,)),
    "shared trunk": ({"encoders": {"shared_from_stage": 1, "width": 0.5}}, Labels(("csPCa",), False), (2,)),
    "paper": (load_preset("paper"), Labels(("csPCa",), False), (1,)),
    "no bound on gradients": ({"alignment": {"gradient_ratio": None}}, Labels(("csPCa",), False), (2,)),
    "classes": ({}, Labels(("PZ", "TZ", "csPCa"), False), (1, 2, 3)),
    "regions": ({}, Labels(("gland", "csPCa"), True), (2, 1)),
    "feedback and conditioning": (
        {"alignment": {"feedback": True, "conditioning": "image"}, "heatmap": {"hard_negatives": 0.1}},
        Labels(("csPCa",), False),
        (2,),
    ),
    "anatomy": ({"alignment": {"anatomy": True}}, Labels(("csPCa",), False, ("PZ", "TZ")), (2, 1, 3)),
    "without text": ({"components": []}, Labels(("csPCa",), False), (2,)),
}


@pytest.mark.parametrize("name", CASES)
def test_nothing_in_a_training_step_waits_for_the_device(name: str) -> None:
    override, labels, prompts = CASES[name]
    text = {"prompts_per_label": prompts, "anatomy": len(labels.anatomy)}
    settings = resolve(block(override, **text))
    net = network(override, heads=labels.heads, deep_supervision=True, **text)
    optimiser, loss = build_optimiser(net, settings), step_loss(labels, settings)
    data = torch.randn(2, 3, 4, 16, 16)
    for _ in range(2):
        with NoWaiting():
            optimiser.zero_grad(set_to_none=True)
            loss(net, data).backward()
            for group in optimiser.param_groups:
                torch.nn.utils.clip_grad_norm_(group["params"], 12)
        # torch's SGD reads a flag of its own on the CPU; what it does on a GPU is nnU-Net's business as well as ours.
        optimiser.step()


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("region", ["dice", "tversky", "focal_tversky", "none"])
@pytest.mark.parametrize("voxel", ["ce", "topk", "focal"])
def test_no_loss_waits_for_the_device_with_an_ignore_label(region: str, voxel: str, regions: bool) -> None:
    settings = resolve({"segmentation_loss": {"region": region, "voxel": voxel}}).segmentation_loss
    logits = torch.randn(2, 3, 4, 8, 8, requires_grad=True)
    target = torch.randint(0, 2, (2, 4, 4, 8, 8)) if regions else torch.randint(0, 4, (2, 1, 4, 8, 8))
    similarity = torch.randn(2, 3 if regions else 2, 4, 4, 4, requires_grad=True)
    with NoWaiting():
        total = SegmentationLoss(settings, regions, 3, True)(logits, target)
        (total + GuidanceLoss(None if regions else [1, 2], 3)(similarity, target).weighted).backward()


def test_shapes_of_a_training_step_do_not_depend_on_data() -> None:
    # A tensor without data raises wherever a shape or a branch would have to look at data.
    settings, labels = resolve(block()), Labels(("csPCa",), False)
    with FakeTensorMode():
        net = network(deep_supervision=True)
        loss = step_loss(labels, settings)
        loss(net, torch.empty(2, 3, 4, 16, 16)).backward()
    # The lowest resolution has weight 0 in nnU-Net's deep supervision on one device.
    idle = {name for name, parameter in net.named_parameters() if parameter.grad is None}
    assert idle == {"decoder.seg_layers.0.weight", "decoder.seg_layers.0.bias"}


def test_prediction_does_not_wait_for_the_device_either() -> None:
    net = network().eval()
    with NoWaiting(), torch.inference_mode():
        net(torch.randn(1, 3, 4, 16, 16))


@pytest.mark.parametrize("width", [1.0, 0.625, 0.5])
def test_channels_are_multiples_of_eight(width: float) -> None:
    # Tensor cores multiply blocks of eight half-precision numbers.
    net = network({"encoders": {"width": width}}, plans=architecture(features=(32, 64, 128)))
    inner = [m for m in net.modules() if isinstance(m, (nn.Conv3d, nn.ConvTranspose3d)) and m.in_channels > 3]
    assert len(inner) > 10
    assert {m.in_channels % 8 for m in inner} == {0}
    heads = {id(head) for head in net.decoder.seg_layers}
    assert {m.out_channels % 8 for m in inner if id(m) not in heads} == {0}
    assert net.alignment is not None
    assert net.refiner is not None
    assert net.alignment.image_projection.out_features % 8 == 0
    assert net.refiner.query.out_features % 8 == 0
