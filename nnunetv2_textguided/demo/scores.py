"""Dice per test case, with the case of nothing to find spelled out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnunetv2_textguided.evaluation.overlap import voxel_metrics


@dataclass(frozen=True)
class DemoScore:
    """One mask against its reference.

    Attributes:
        identifier: of the case.
        reference_voxels, predicted_voxels: their sizes.
        dice: None where the reference is empty, because 0 or 1 would hide how much was falsely marked.
    """

    identifier: str
    reference_voxels: int
    predicted_voxels: int
    dice: float | None

    @property
    def has_lesion(self) -> bool:
        """Whether there was something to find."""
        return self.reference_voxels > 0


def score_masks(identifier: str, reference: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> DemoScore:
    """Compare two masks of the same shape (Z, Y, X)."""
    dice = voxel_metrics(reference, predicted)["dice"] if reference.any() else None
    return DemoScore(identifier, int(reference.sum()), int(predicted.sum()), dice)


def mean_dice(scores: Sequence[DemoScore]) -> float:
    """Mean Dice over the cases with a lesion; nan if there is none."""
    values = [score.dice for score in scores if score.dice is not None]
    return float(np.mean(values)) if values else float("nan")


def score_table(trained: Sequence[DemoScore], untrained: Sequence[DemoScore]) -> str:
    """The table that the demo prints: a line per case, and the means over the cases with a lesion."""
    lines = [f"{'test case':<12}{'lesion':>9}{'untrained':>12}{'trained':>12}", "-" * 45]
    for after, before in zip(trained, untrained, strict=True):
        lesion = f"{after.reference_voxels} vx" if after.has_lesion else "none"
        lines.append(f"{after.identifier:<12}{lesion:>9}{_cell(before):>12}{_cell(after):>12}")
    lines += ["-" * 45, f"{'mean Dice':<21}{mean_dice(untrained):>12.3f}{mean_dice(trained):>12.3f}"]
    return "\n".join(lines)


def _cell(score: DemoScore) -> str:
    return f"{score.dice:.3f}" if score.dice is not None else f"{score.predicted_voxels} vx"
