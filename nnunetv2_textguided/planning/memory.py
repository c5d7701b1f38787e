"""What a training step costs, counted before anything is trained: bytes and floating-point operations.

Networks run on fake tensors: shapes and types without data, as CUDA would have them under mixed precision. A step of
any size is counted in about a second, on a machine without a GPU.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.modules.conv import _ConvNd
from torch.utils.flop_counter import FlopCounterMode

from nnunetv2_textguided.planning.step import Labels, step_loss
from nnunetv2_textguided.settings import Settings

BYTES_PER_PARAMETER = 4 + 4 + 4
"""Parameter, gradient and SGD's momentum, all float32."""


@dataclass(frozen=True)
class StepCost:
    """What one training step of a network costs.

    Attributes:
        parameters: number of parameters.
        weight_copies: bytes of the half-precision copies of the convolutions' weights that autocast makes.
        activations_per_patch: bytes that the forward pass of one patch saves for the backward pass.
        flops_per_patch: floating-point operations of one patch's forward pass (a multiplication and an addition each
            count; convolutions and matrix products only). A step takes three times as many per patch.
        batch_size: patches per step.
    """

    parameters: int
    weight_copies: int
    activations_per_patch: float
    flops_per_patch: float
    batch_size: int

    @property
    def fixed(self) -> int:
        """Bytes that do not depend on the batch: parameters, gradients, momentum, half-precision weights."""
        return BYTES_PER_PARAMETER * self.parameters + self.weight_copies

    @property
    def total(self) -> float:
        """Bytes of parameters, gradients, momentum and everything saved for the backward pass."""
        return self.fixed + self.activations_per_patch * self.batch_size


class SavedBytes:
    """Counts the bytes that autograd keeps for the backward pass: every storage once, the network's own not.

    Args:
        network: its parameters and buffers are not counted.
    """

    def __init__(self, network: nn.Module) -> None:
        self._own = {t.untyped_storage()._cdata for t in [*network.parameters(), *network.buffers()]}
        # Storages are kept: a freed one's address would be given to the next.
        self._storages: dict[int, Any] = {}

    def __enter__(self) -> SavedBytes:
        self._hooks = saved_tensors_hooks(self._see, lambda tensor: tensor)
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._hooks.__exit__(*error)

    def _see(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._own:
            self._storages[storage._cdata] = storage
        return tensor

    @property
    def total(self) -> int:
        """Bytes counted so far."""
        return sum(storage.nbytes() for storage in self._storages.values())


class StepCounter:
    """Counts training steps on fake tensors. Networks of the same description are built once.

    Args:
        channels: image channels.
        labels: the data set's labels, for the loss.
        device: "cuda" counts mixed precision as the trainers use it there, "cpu" float32.
    """

    def __init__(self, channels: int, labels: Labels, device: str = "cuda") -> None:
        self.channels, self.labels, self.device = channels, labels, device
        self._mode = FakeTensorMode()
        self._networks: dict[str, nn.Module] = {}

    def count(
        self,
        build: Callable[[], nn.Module],
        description: Mapping[str, Any],
        patch: Sequence[int],
        batch_size: int,
        settings: Settings | None,
        loss: Callable[[Any, Tensor], Tensor] | None = None,
    ) -> StepCost:
        """Count one step.

        Args:
            build: builds the network.
            description: what identifies the network; equal descriptions mean equal networks.
            patch: patch size in voxels.
            batch_size: patches per step.
            settings: the text-guided training's; None: stock nnU-Net's loss.
            loss: another loss than theirs, of (network, images).
        """
        key = json.dumps(description, sort_keys=True, default=str)
        mixed = self.device == "cuda"
        with self._mode:
            with torch.device(self.device):
                if key not in self._networks:
                    self._networks[key] = build()
                network = self._networks[key]
                data = torch.empty(batch_size, self.channels, *(int(n) for n in patch))
                loss = loss or step_loss(self.labels, settings)
            precision = _mixed_precision() if mixed else contextlib.nullcontext()
            with SavedBytes(network) as saved, FlopCounterMode(display=False) as flops, precision:
                loss(network, data)
        copies = 2 * sum(m.weight.numel() for m in network.modules() if isinstance(m, _ConvNd)) if mixed else 0
        return StepCost(
            sum(p.numel() for p in network.parameters()),
            copies,
            (saved.total - copies) / batch_size,
            flops.get_total_flops() / batch_size,
            batch_size,
        )


@contextlib.contextmanager
def _mixed_precision() -> Iterator[None]:
    """CUDA's autocast, also where there is no CUDA (where torch.autocast refuses to be enabled)."""
    before = torch.is_autocast_enabled()
    torch.set_autocast_enabled(True)
    try:
        yield
    finally:
        torch.set_autocast_enabled(before)
        torch.clear_autocast_cache()
