"""What a training does with a surface refiner, and what it says of any refiner: edits, and whether they are any."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from nnunetv2_textguided.losses.refiner import EDITS, edits
from nnunetv2_textguided.network import AlignRefineUNet
from nnunetv2_textguided.network.gate import Refinement
from nnunetv2_textguided.training.statistics import sum_over_ranks

REFINEMENT = ("gate_fraction", "mean_change", "change_spread", "voxels_added", "voxels_removed", "right_edits")
CONSTANT = 0.05
"""A change whose standard deviation over voxels is below this share of its mean is called constant."""


class Edits:
    """Counts what the refiner does to the patches of an epoch's validation.

    Args:
        regions: region-based training.
        ignore_label: the value of the ignore label; None: there is none.
    """

    def __init__(self, regions: bool, ignore_label: int | None) -> None:
        self.regions, self.ignore_label = regions, ignore_label
        self.sums: Tensor | None = None

    def start(self) -> None:
        """Start an epoch."""
        self.sums = None

    def count(self, logits: Tensor, refinement: Refinement, alpha: Tensor, target: Tensor) -> None:
        """Add patches; arguments as `edits` has them."""
        found = edits(logits, refinement, alpha, target.to(logits.device), self.regions, self.ignore_label)
        self.sums = found if self.sums is None else self.sums + found

    def finish(self, distributed: bool) -> dict[str, float]:
        """The values of REFINEMENT over all patches of all ranks; NaN where there is no refiner."""
        if self.sums is None:
            return dict.fromkeys(REFINEMENT, math.nan)
        counted = dict(zip(EDITS, sum_over_ranks(self.sums, distributed).tolist(), strict=True))
        flipped, gated = counted["added"] + counted["removed"], counted["gated"]
        mean = counted["change"] / gated if gated else math.nan
        variance = max(counted["squared"] / gated - mean**2, 0.0) if gated else math.nan
        values = (gated / counted["voxels"], mean, math.sqrt(variance), counted["added"], counted["removed"])
        return dict(zip(REFINEMENT, (*values, counted["right"] / flipped if flipped else math.nan), strict=True))


def warning(record: Mapping[str, float], alpha: float) -> str | None:
    """What is wrong with the edits of an epoch in which the refiner acts; None: nothing."""
    if alpha == 0 or math.isnan(record["gate_fraction"]):
        return None
    if record["gate_fraction"] == 0:
        return "The refiner's gate let no voxel through in this epoch's validation."
    if record["voxels_added"] + record["voxels_removed"] == 0:
        return "The refiner changed no voxel's label in this epoch's validation: masks are as without it."
    if record["change_spread"] < CONSTANT * abs(record["mean_change"]):
        return (
            f"The refiner adds nearly the same to all voxels ({record['mean_change']:+.3g} +- "
            f"{record['change_spread']:.2g} logits): it acts as a lower or higher threshold."
        )
    return None


def segment(network: Any, bare: AlignRefineUNet, data: Tensor) -> tuple[Any, Tensor | None, Tensor, Refinement | None]:
    """Segmentation, similarity logits, base logits of the finest scale and refinement of (B, channels, *S) images.

    Args:
        network: the network, perhaps wrapped.
        bare: the same without its wrappers.
        data: the images.
    """
    segmentation, similarity, refinement, _ = network(data, return_similarity=True, return_refinement=True)
    several = isinstance(segmentation, list)
    base: Tensor = segmentation[0] if several else segmentation
    if refinement is not None and bare.refiner is not None:
        refined = bare.refiner.refine(base, refinement)
        segmentation = [refined, *segmentation[1:]] if several else refined
    return segmentation, similarity, base, refinement
