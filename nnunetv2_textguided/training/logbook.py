"""What the method logs each epoch: in nnU-Net's log (and Weights & Biases), and as a CSV beside it."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Mapping
from typing import Any

from torch.optim import Optimizer

from nnunetv2_textguided.files import write_text
from nnunetv2_textguided.imaging.intensities import LOGGED
from nnunetv2_textguided.network import AlignRefineUNet
from nnunetv2_textguided.nnunet.training_log import moving_dice
from nnunetv2_textguided.schedule import History, PhaseWeights
from nnunetv2_textguided.training.intensities import write_training_intensities
from nnunetv2_textguided.training.optimiser import GROUPS
from nnunetv2_textguided.training.refinement import REFINEMENT, warning

PREFIX = "text_guidance/"
OWN = (
    "phase",
    "lambda_align",
    "lambda_heat",
    "lambda_report",
    "alpha",
    "loss_seg",
    "loss_align",
    "loss_heat",
    "loss_refine",
    "loss_ground",
    "loss_report_place",
    "loss_report_outside",
    "loss_report_volume",
    "similarity_foreground",
    "similarity_background",
    "scale",
    *REFINEMENT,
    "lr_backbone",
    "lr_text",
    "lr_refiner",
)
STOCK = {
    "train_loss": "train_losses",
    "val_loss": "val_losses",
    "mean_fg_dice": "mean_fg_dice",
    "ema_fg_dice": "ema_fg_dice",
}


def epoch_record(
    step_means: Mapping[str, float],
    weights: PhaseWeights,
    refinement: Mapping[str, float],
    network: AlignRefineUNet,
    optimiser: Optimizer,
) -> dict[str, Any]:
    """An epoch's values for `OWN`.

    Args:
        step_means: means of the terms of its training steps.
        weights: its phase and weights.
        refinement: what the refiner did, the values of REFINEMENT.
        network: the bare network.
        optimiser: with the groups of `GROUPS`.
    """
    alignment = network.alignment
    rates = {f"lr_{name}": group["lr"] for name, group in zip(GROUPS, optimiser.param_groups, strict=True)}
    return {
        **step_means,
        "phase": weights.phase,
        "lambda_align": weights.align,
        "lambda_heat": weights.heat,
        "lambda_report": weights.report,
        "alpha": weights.alpha,
        "scale": math.nan if alignment is None else float(alignment.scale.detach()),
        **refinement,
        **rates,
    }


def describe_epoch(record: Mapping[str, Any]) -> str:
    """Lines for the training log of what `epoch_record` has returned."""
    message = warning(record, record["alpha"])
    shown = {key: round(value, 4) for key, value in record.items() if isinstance(value, float)}
    return "\n".join([*([] if message is None else [message]), f"text guidance: {shown}"])


class Logbook:
    """Adds this package's keys to nnU-Net's logger, which otherwise refuses keys that it does not know."""

    def __init__(self, logger: Any) -> None:
        self.logger = logger
        self.align_with(epoch=0)

    @property
    def moving_dice(self) -> list[float]:
        """nnU-Net's moving average of the pseudo Dice, one value per epoch that has been validated."""
        averages: list[float] = self.logger.get_value("ema_fg_dice", None)
        return averages

    @property
    def history(self) -> History:
        """What the dynamic phases look at."""
        return History(self.logger.get_value("train_losses", None), self.moving_dice)

    def correct_moving_dice(self) -> None:
        """Skip the last epoch in nnU-Net's moving average if it has no Dice (nnunet/training_log.py)."""
        averages = self.moving_dice
        if not math.isfinite(averages[-1]):
            averages[-1] = moving_dice(averages[:-1], float(self.logger.get_value("mean_fg_dice", -1)))

    def align_with(self, epoch: int) -> None:
        """Make every own list `epoch` values long, as after loading a checkpoint, also one without these keys.

        nnU-Net's logger appends by position: a list that is too short would put values at the wrong epoch.
        """
        log = self.logger.local_logger.my_fantastic_logging
        for key in OWN:
            values = log.setdefault(PREFIX + key, [])
            del values[epoch:]
            values.extend(["" if key == "phase" else math.nan] * (epoch - len(values)))

    def log(self, values: Mapping[str, Any], epoch: int) -> None:
        """Log one value for each of `OWN`, once per epoch."""
        for key in OWN:
            self.logger.log(PREFIX + key, values[key], epoch)

    def keep_intensities(self, dataset: Any, folder: str) -> None:
        """Write what the training images are like, also for checkpoints: nnU-Net's export of a model leaves files out.

        Args:
            dataset: nnU-Net's data set of the fold's training cases.
            folder: the fold's output folder.
        """
        self.logger.local_logger.my_fantastic_logging[LOGGED] = write_training_intensities(dataset, folder)

    def write_csv(self, path: str | os.PathLike[str]) -> None:
        """Write all finished epochs. The file is written whole, so it is right also after a kill and `--c`."""
        log = self.logger.local_logger.my_fantastic_logging
        columns = {key: log[PREFIX + key] for key in OWN}
        columns |= {name: log[key] for name, key in STOCK.items()}
        epochs = min(len(values) for values in columns.values())
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["epoch", *columns])
        for epoch in range(epochs):
            writer.writerow([epoch, *(_plain(values[epoch]) for values in columns.values())])
        write_text(path, text.getvalue())


def _plain(value: Any) -> Any:
    return value if isinstance(value, str) else f"{float(value):.8g}"
