"""Checkpoints of a training: written whole or not at all, and read only where they belong to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunetv2_textguided.errors import TrainingError
from nnunetv2_textguided.files import atomic_path, remove_partials
from nnunetv2_textguided.training.consistency import check_continuation, check_model_folder
from nnunetv2_textguided.training.continuation import ORDER, choose_checkpoint, epochs_of, last_is_best


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one training.

    Attributes:
        plans: its complete plans.
        configuration: name of its configuration.
        continued: whether --c continues it; only then may another checkpoint stand in for a damaged one.
    """

    plans: Mapping[str, Any]
    configuration: str
    continued: bool

    def check_folder(self, model_folder: str | None) -> None:
        """Refuse to mix networks in one model folder.

        Raises:
            TrainingError: another fold's network differs.
        """
        if model_folder is not None:
            check_model_folder(model_folder, self.plans, self.configuration)

    def write(self, filename: str, save: Callable[[str], None]) -> None:
        """Have `save` write a checkpoint; a kill while it writes leaves the former one.

        Raises:
            TrainingError: it could not be written; the former one stands.
        """
        try:
            with atomic_path(filename, durable=True) as temporary:
                save(str(temporary))
        except (OSError, RuntimeError) as e:  # torch's writer raises the latter where the disk is full
            raise TrainingError(
                f"The checkpoint could not be written: {str(e).splitlines()[0]}",
                where=filename,
                remedy="Make room or correct the permissions, then continue with --c: the former checkpoint stands.",
            ) from e

    def load(self, checkpoint: dict | str, load: Callable[[Any], None], tell: Callable[[str], None]) -> None:
        """Have `load` read a checkpoint; --c falls back to the next one if the first is damaged, and tells so.

        Raises:
            TrainingError: the checkpoint is damaged, or belongs to another architecture or other prompts.
        """
        chosen: Any = checkpoint
        if self.continued and isinstance(chosen, (str, os.PathLike)):
            chosen, message = choose_checkpoint(str(chosen))
            if message is not None:
                tell(message)
        check_continuation(chosen, self.plans, self.configuration)
        try:
            load(chosen)
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as e:
            raise TrainingError(
                f"The checkpoint does not fit this network and optimiser: {e}",
                where=chosen if isinstance(chosen, str) else "checkpoint",
                remedy="Restore the plans that it was trained with, or start a new training.",
            ) from e

    def missing_best(self, fold_folder: str, epoch: int, moving_dice: Sequence[float]) -> str | None:
        """Remove unfinished files; the checkpoint_best that a kill kept from being written after checkpoint_latest.

        Args:
            fold_folder: the fold's folder.
            epoch: epochs that are finished.
            moving_dice: the moving Dice after each of them.
        """
        for name in ORDER:
            remove_partials(Path(fold_folder) / name)
        best = Path(fold_folder) / "checkpoint_best.pth"
        missing = epoch > 0 and last_is_best(moving_dice) and epochs_of(best) < epoch
        return str(best) if missing else None
