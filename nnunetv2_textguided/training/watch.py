"""Stops a training whose loss stays non-finite, and says where it went wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from nnunetv2_textguided.errors import TrainingError


class NonFiniteWatch:
    """Counts consecutive iterations without a finite loss.

    A single one is no catastrophe (mixed precision skips such steps, and so does the trainer); many in a row are.

    Args:
        patience: this many in a row raise.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.consecutive = 0

    def update(self, failed: bool, losses: Mapping[str, float], epoch: int, cases: Sequence[str]) -> None:
        """Count one iteration.

        Args:
            failed: whether the step failed on any rank.
            losses: this rank's loss components by name.
            epoch: current epoch.
            cases: identifiers of the cases in this rank's batch.

        Raises:
            TrainingError: the patience is exhausted; names epoch, component and cases.
        """
        self.consecutive = self.consecutive + 1 if failed else 0
        if self.consecutive < self.patience:
            return
        broken = [name for name, value in losses.items() if not math.isfinite(value)]
        raise TrainingError(
            f"The loss has not been finite for {self.consecutive} iterations in a row; component: "
            f"{', '.join(broken) or 'gradients (or a loss on another rank)'}.",
            where=f"epoch {epoch}, cases {', '.join(map(str, cases))}",
            remedy="Check these cases for NaN or extreme intensities; else lower the learning rate and continue (--c).",
        )
