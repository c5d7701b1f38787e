"""A configuration's plan together with what its training step costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nnunetv2_textguided.planning.memory import StepCost
from nnunetv2_textguided.planning.topology import MIN_BATCH_SIZE
from nnunetv2_textguided.settings import Settings


@dataclass(frozen=True)
class Fit:
    """A plan of one configuration, and what a training step of it costs.

    Attributes:
        plan: nnU-Net's plan; its architecture is the stock network, which is our network's backbone.
        settings: of the text-guided training; None: the stock network itself.
        cost: of a training step.
        stock_cost: of the stock network's step at the same topology, patch and batch.
        budget: bytes that the memory target allows.
    """

    plan: dict[str, Any]
    settings: Settings | None
    cost: StepCost
    stock_cost: StepCost
    budget: float

    @property
    def fits(self) -> bool:
        """Whether the step is within the memory target."""
        return self.cost.total <= self.budget

    @property
    def fitting_batch(self) -> int:
        """The plan's batch size, or as much of it as fits the budget; at least nnU-Net's least batch size."""
        fitting = int((self.budget - self.cost.fixed) / self.cost.activations_per_patch)
        return max(min(int(self.plan["batch_size"]), fitting), MIN_BATCH_SIZE)

    @property
    def relative_flops(self) -> float:
        """Floating-point operations relative to the stock network's at the same topology and patch."""
        return self.cost.flops_per_patch / self.stock_cost.flops_per_patch


@dataclass(frozen=True)
class Decision:
    """What was decided for one configuration.

    Attributes:
        ours: the text-guided network's plan.
        stock: what nnU-Net plans for its own network (or the plans whose topology is kept).
        ours_on_stock: the text-guided network on that plan.
    """

    ours: Fit
    stock: Fit
    ours_on_stock: Fit
