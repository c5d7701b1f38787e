"""One training step as the trainers take it on a GPU: autocast, gradient scaler, clipping per group, SGD."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nnunetv2_textguided.losses.guidance import GuidanceLoss
from nnunetv2_textguided.nnunet.losses import deep_supervision
from nnunetv2_textguided.planning.step import _segmentation_loss
from nnunetv2_textguided.training.optimiser import build_optimiser
from nnunetv2_textguided.training.step import StepLosses, autocast, compute_terms
from tests.performance.subjects import LESION, guided, stock, targets


class Step:
    """A network on the GPU, and its training step.

    Args:
        overrides: of the default settings; None: nnU-Net's own network, loss and optimiser.
        patch: patch size in voxels; the batch has two of them.
        shrink: the widths of PI-CAI's plans are divided by it.
        wrap: such as torch.compile.
        lr: learning rate; the default moves nothing far, for measurements.
    """

    def __init__(
        self,
        overrides: Mapping[str, Any] | None,
        patch: Sequence[int],
        shrink: int = 1,
        wrap: Callable[[nn.Module], Any] = lambda network: network,
        lr: float = 1e-5,
    ) -> None:
        torch.manual_seed(0)
        self.bare, settings = (stock(shrink), None) if overrides is None else guided(overrides, shrink=shrink)
        self.bare.cuda()
        self.network = wrap(self.bare)
        self.loss = deep_supervision(_segmentation_loss(LESION, settings).cuda(), 5)
        self.guidance: GuidanceLoss | None = None
        if settings is None:
            self.optimiser = torch.optim.SGD(self.bare.parameters(), lr=lr, momentum=0.99, nesterov=True)
        else:
            self.optimiser = build_optimiser(self.bare, settings)  # type: ignore[arg-type]
            self.guidance = GuidanceLoss([1], None).cuda() if settings.uses_text else None
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        self.scaler = torch.amp.GradScaler("cuda")
        self.data = torch.randn(2, 3, *patch, device="cuda")
        self.truth = [t.cuda() for t in targets(patch, batch=2)]
        # Something to find: the box is brighter.
        self.data += 2 * self.truth[0]
        self.ours = settings is not None

    def set_weights(self, align: float, heat: float, alpha: float) -> None:
        """What the trainer sets at the start of an epoch."""
        if self.guidance is not None:
            self.guidance.lambda_align.fill_(align)
            self.guidance.lambda_heat.fill_(heat)
        if getattr(self.bare, "refiner", None) is not None:
            self.bare.refiner.alpha.fill_(alpha)  # type: ignore[union-attr, operator]

    def total_loss(self) -> Tensor:
        """Forward pass and loss."""
        if self.ours:
            losses = StepLosses(self.loss, self.guidance)
            return compute_terms(self.network, self.data, self.truth, losses, autocast(self.data.device)).loss
        with torch.autocast("cuda"):
            total: Tensor = self.loss(self.network(self.data), self.truth)
        return total

    def backward(self, total: Tensor) -> None:
        """Scaled gradients."""
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(total).backward()

    def update(self) -> None:
        """Clipping and SGD."""
        self.scaler.unscale_(self.optimiser)
        for group in self.optimiser.param_groups:
            if group["params"]:
                torch.nn.utils.clip_grad_norm_(group["params"], 12)
        self.scaler.step(self.optimiser)
        self.scaler.update()

    def __call__(self) -> float:
        """A whole step; its loss."""
        total = self.total_loss()
        self.backward(total)
        self.update()
        return float(total.detach())
