"""What a model's refiner changed in a case's mask, from the predicted change maps."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nnunetv2_textguided.inference.explaining import Layout
from nnunetv2_textguided.inference.thresholds import shift_logits


def count_edits(
    predicted: np.ndarray, layout: Layout, thresholds: Mapping[str, float] | None = None
) -> dict[str, dict[str, int]]:
    """Voxels that the refiner put under each label, and that it took away.

    The change maps were averaged over windows and folds as the logits were, so without them the logits are those of the
    network without its refiner, up to the accumulator's half precision.

    Args:
        predicted: (layout.channels, *grid): logits, heatmaps, change maps.
        layout: of the channels, with change maps.
        thresholds: label -> where its probability is cut, if not as nnU-Net does.

    Returns:
        Label -> {"added": voxels, "removed": voxels}.
    """
    heads = {layout.head_of(label): value for label, value in (thresholds or {}).items()}
    refined = shift_logits(predicted[: layout.heads], heads)
    base, change = refined.copy(), predicted[layout.change].astype(np.float32)
    base[layout.heads - len(layout.labels) :] -= change
    after, before = (_masks(logits, layout) for logits in (refined, base))
    touched = (change != 0).any(axis=0)
    return {
        label: {"added": int((touched & after[i] & ~before[i]).sum()),
                "removed": int((touched & before[i] & ~after[i]).sum())}
        for i, label in enumerate(layout.labels)
    }  # fmt: skip


def _masks(logits: np.ndarray, layout: Layout) -> np.ndarray:
    """(labels, *grid) which voxels have each class, or lie in each region."""
    if layout.heads == len(layout.labels):
        return np.asarray(logits > 0)
    return logits.argmax(axis=0) == np.arange(1, layout.heads).reshape(-1, *[1] * (logits.ndim - 1))
