"""What is known of a model before it is trained: its length, its size, its plans and its words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class ModelFacts:
    """One variant's facts, for fairness and for the records.

    Attributes:
        epochs: epochs of a training.
        iterations_per_epoch: training iterations of an epoch.
        val_iterations_per_epoch: validation iterations of an epoch.
        batch_size: patches per iteration.
        patch_size: voxels, in the order of the image axes.
        parameters: of the network; None: it cannot be counted.
        flops_per_patch: floating-point operations of the forward pass of one patch (a multiplication and an addition
            each count; convolutions and matrix products only); None: they cannot be counted.
        not_counted: why they cannot.
        plans_sha256: of the plans file.
        configuration_sha256: of the configuration as the trainer uses it, with the complete `text_guidance` block.
        splits_sha256: of the folds.
        embeddings: source, hashes and encoder of the text; None: the model has none.
    """

    epochs: int
    iterations_per_epoch: int
    val_iterations_per_epoch: int
    batch_size: int
    patch_size: tuple[int, ...]
    parameters: int | None
    flops_per_patch: float | None
    not_counted: str | None
    plans_sha256: str
    configuration_sha256: str
    splits_sha256: str
    embeddings: Mapping[str, Any] | None

    @property
    def flops_per_step(self) -> float | None:
        """Of a training step: a backward pass takes twice its forward pass."""
        return None if self.flops_per_patch is None else 3 * self.flops_per_patch * self.batch_size

    @property
    def training_flops(self) -> float | None:
        """Of all training steps."""
        if self.flops_per_step is None:
            return None
        return self.flops_per_step * self.iterations_per_epoch * self.epochs

    def as_json(self) -> dict[str, Any]:
        """JSON values, with what follows from the facts."""
        return {
            **asdict(self),
            "patch_size": list(self.patch_size),
            "flops_per_step": self.flops_per_step,
            "training_flops": self.training_flops,
        }
