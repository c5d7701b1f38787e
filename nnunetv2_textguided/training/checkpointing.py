"""nnU-Net's trainer, with files that a kill, a full disk or another fold cannot spoil."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.crossval_split import generate_crossval_split

from nnunetv2_textguided.errors import TrainingError
from nnunetv2_textguided.files import atomic_path, read_json, remove_partials, write_json
from nnunetv2_textguided.training.consistency import check_continuation
from nnunetv2_textguided.training.continuation import (
    ORDER,
    best_so_far,
    choose_checkpoint,
    epochs_of,
    last_is_best,
    moving_dice,
)
from nnunetv2_textguided.training.intensities import write_training_intensities


class CheckpointingTrainer(nnUNetTrainer):
    """Writes checkpoints whole or not at all, and continues from the next one where the first is damaged."""

    _best_ema: Any  # nnU-Net's: a float, or None before the first epoch
    dataset_class: Any  # nnU-Net's: None before initialisation
    continued = False
    """Whether this is a training that --c continues; only then may another checkpoint stand in for a damaged one."""

    def do_split(self) -> tuple[list[str], list[str]]:
        """nnU-Net's split, created so that folds which start at the same second cannot read half of it.

        Raises:
            TrainingError: there are too few cases for five folds, or the file is not valid.
        """
        if self.fold != "all" and self.preprocessed_dataset_folder_base is not None:
            path = Path(self.preprocessed_dataset_folder_base) / "splits_final.json"
            if path.is_file():
                _check_splits(path)
            else:
                if self.dataset_class is None:  # not initialised yet: nnU-Net's own split can be asked for then, too
                    self.dataset_class = infer_dataset_class(self.preprocessed_dataset_folder)
                cases = sorted(self.dataset_class.get_identifiers(self.preprocessed_dataset_folder))
                if len(cases) < 5:
                    raise TrainingError(
                        f"The data set has {len(cases)} cases, too few for nnU-Net's five folds.",
                        where=self.preprocessed_dataset_folder,
                        remedy=f"Train fold 'all', or write the folds that you want to {path}.",
                    )
                # nnU-Net's own split, the same in every process.
                splits = generate_crossval_split(cases, seed=12345, n_splits=5)
                write_json(path, [{part: list(map(str, keys)) for part, keys in split.items()} for split in splits])
        chosen: tuple[list[str], list[str]] = super().do_split()
        if not chosen[0]:
            raise TrainingError("The fold has no training cases.", where=f"splits_final.json, fold {self.fold}")
        return chosen

    def on_train_start(self) -> None:
        """nnU-Net's start; where a kill fell between two writes, the second is made up for."""
        super().on_train_start()
        if self.local_rank != 0 or self.output_folder is None:
            return
        for name in ORDER:
            remove_partials(Path(self.output_folder) / name)
        history = self.logger.get_value("ema_fg_dice", None)
        best = Path(self.output_folder) / "checkpoint_best.pth"
        if self.current_epoch > 0 and last_is_best(history) and epochs_of(best) < self.current_epoch:
            # Counted on at the end of an epoch, and checkpoints are written before that.
            self.current_epoch -= 1
            self.save_checkpoint(str(best))
            self.current_epoch += 1

    def on_validation_epoch_end(self, val_outputs: list[dict]) -> None:
        """nnU-Net's pseudo Dice, whose moving average survives an epoch without any foreground."""
        super().on_validation_epoch_end(val_outputs)
        averages = self.logger.get_value("ema_fg_dice", None)
        if not math.isfinite(averages[-1]):
            averages[-1] = moving_dice(averages[:-1], float(self.logger.get_value("mean_fg_dice", -1)))

    def on_epoch_end(self) -> None:
        """nnU-Net's end of epoch; an epoch without a Dice is not the one to beat."""
        if self._best_ema is not None and not math.isfinite(self._best_ema):
            self._best_ema = None
        super().on_epoch_end()

    def on_train_end(self) -> None:
        """nnU-Net's end, and what prediction needs to know of the training images."""
        super().on_train_end()
        if self.local_rank == 0 and self.output_folder is not None:
            write_training_intensities(self.get_tr_and_val_datasets()[0], self.output_folder)

    def save_checkpoint(self, filename: str) -> None:
        """nnU-Net's checkpoint, but whole or not at all: a kill while writing leaves the former one.

        Raises:
            TrainingError: it could not be written; the former one stands.
        """
        if self.local_rank != 0 or self.disable_checkpointing:
            super().save_checkpoint(filename)
            return
        try:
            with atomic_path(filename, durable=True) as temporary:
                super().save_checkpoint(str(temporary))
        except (OSError, RuntimeError) as e:  # torch's writer raises the latter where the disk is full
            raise TrainingError(
                f"The checkpoint could not be written: {str(e).splitlines()[0]}",
                where=filename,
                remedy="Make room or mend the permissions, then continue with --c: the former checkpoint stands.",
            ) from e

    def load_checkpoint(self, filename_or_checkpoint: dict | str) -> None:
        """nnU-Net's loading; --c falls back to the next checkpoint if the first is damaged, and says so.

        Raises:
            TrainingError: the checkpoint is damaged, or belongs to another architecture or other prompts.
        """
        chosen: Any = filename_or_checkpoint
        if self.continued and isinstance(chosen, (str, os.PathLike)):
            chosen, message = choose_checkpoint(str(chosen))
            if message is not None:
                self.print_to_log_file(message)
        check_continuation(chosen, self.plans_manager.plans, self.configuration_name)
        try:
            super().load_checkpoint(chosen)
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as e:
            raise TrainingError(
                f"The checkpoint does not fit this network and optimiser: {e}",
                where=chosen if isinstance(chosen, str) else "checkpoint",
                remedy="Restore the plans that it was trained with, or start a new training.",
            ) from e
        self._best_ema = best_so_far(self.logger.get_value("ema_fg_dice", None))


def _check_splits(path: Path) -> None:
    splits = read_json(path, error=TrainingError)
    whole = isinstance(splits, list) and all(
        isinstance(split, dict) and all(isinstance(split.get(part), list) for part in ("train", "val"))
        for split in splits
    )
    if not whole:
        raise TrainingError(
            "The file does not hold folds.",
            where=path,
            remedy='Expected [{"train": [cases], "val": [cases]}, ...]. nnU-Net makes a new one if it is deleted.',
        )
