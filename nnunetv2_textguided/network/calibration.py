"""What a similarity logit is worth as a probability, learned on patches that nothing was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

REACH, WIDTH = 32.0, 0.5
"""Logits are counted in bins of this width up to here; beyond it, a logit says no more."""
BINS = round(2 * REACH / WIDTH)
DECAY = 0.9
"""What an epoch's counts are worth an epoch later: nnU-Net's own momentum of its moving Dice."""
SLOPES = (0.01, 10.0)


class HeatmapCalibration(nn.Module):
    """H_c = sigmoid(s_c l_c + o_c): Platt's scaling of the similarity logits l_c, one line per label.

    The text losses weigh a lesion of a thousandth of the patch like all the rest, as they must to learn it at all, so
    sigmoid(l_c) ranks voxels but is far too large (docs/evidence.md). s and o are what cross-entropy without weights
    finds best on the random, not augmented patches of nnU-Net's online validation. Losses, refiner and feedback see
    l_c as it is. Until there are counts of both kinds, s = 1 and o = 0.

    Args:
        labels: number of labels, C.
    """

    mass: Tensor
    """(C, 2, BINS) voxels outside and inside of each label by their logit, fading with the epochs."""
    line: Tensor
    """(C, 2) s and o."""

    def __init__(self, labels: int) -> None:
        super().__init__()
        # Both are in checkpoints: a training that continues finds the counts that it had.
        self.register_buffer("mass", torch.zeros(labels, 2, BINS))
        self.register_buffer("line", torch.tensor([1.0, 0.0]).repeat(labels, 1))

    def forward(self, similarity: Tensor) -> Tensor:
        """(B, C', *s) similarity logits of the first C' labels to float32 probabilities."""
        slope, offset = (v.view(-1, *(1,) * (similarity.ndim - 2)) for v in self.line[: similarity.shape[1]].unbind(1))
        return torch.sigmoid(slope * similarity.float().clamp(-REACH, REACH) + offset)

    def update(self, counts: Tensor) -> None:
        """Add an epoch's counts (`count`), (C, 2, BINS), to the fading sum, and fit the lines to it."""
        self.mass.mul_(DECAY).add_(counts)
        for line, mass in zip(self.line, self.mass.cpu().double().numpy(), strict=True):
            if mass.sum(axis=1).all():
                line.copy_(torch.as_tensor(fit(mass)))

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, metadata: Mapping[str, Any], *others: Any
    ) -> None:
        # Checkpoints from before there was a calibration mean sigmoid(l).
        for name, value in HeatmapCalibration(len(self.line)).state_dict().items():
            state_dict.setdefault(prefix + name, value)
        super()._load_from_state_dict(state_dict, prefix, metadata, *others)  # type: ignore[no-untyped-call]


@torch.no_grad()
def count(similarity: Tensor, foreground: Tensor, background: Tensor) -> Tensor:
    """Voxels by similarity logit.

    Args:
        similarity: (B, C, *s) logits.
        foreground: (B, C, *s) share of each voxel that is inside the label.
        background: (B, C, *s) share that is outside.

    Returns:
        (C, 2, BINS) float32; a share counts as a part of a voxel, a logit that is not finite as none.
    """
    logits = similarity.float().transpose(0, 1).flatten(1)
    finite = logits.isfinite()
    place = ((logits.nan_to_num() + REACH) / WIDTH).clamp(0, BINS - 1).long()
    found = logits.new_zeros(logits.shape[0], 2, BINS)
    for side, shares in enumerate((background, foreground)):
        found[:, side].scatter_add_(1, place, shares.transpose(0, 1).flatten(1).to(found) * finite)
    return found


def fit(mass: np.ndarray) -> np.ndarray:
    """(2,) slope and offset of the best line for (2, BINS) voxels outside and inside, both more than none.

    One voxel's worth of belief in slope 1 keeps the line finite where a logit separates the two completely.
    """
    centres = -REACH + WIDTH * (np.arange(BINS) + 0.5)
    outside, inside = mass

    def loss(line: np.ndarray) -> tuple[float, np.ndarray]:
        logit = line[0] * centres + line[1]
        value = inside @ np.logaddexp(0, -logit) + outside @ np.logaddexp(0, logit) + 0.5 * (line[0] - 1) ** 2
        slope = (inside + outside) * (0.5 + 0.5 * np.tanh(logit / 2)) - inside
        return value / mass.sum(), np.array([slope @ centres + line[0] - 1, slope.sum()]) / mass.sum()

    start = np.array([1.0, np.log(inside.sum() / outside.sum())])
    found: np.ndarray = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[SLOPES, (None, None)]).x
    return found
