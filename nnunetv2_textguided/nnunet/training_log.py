"""nnU-Net's training logs, and the moving average of the pseudo Dice that they are compared by."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

_NUMBER = re.compile(r"(?<![\w.])(?:nan|-?\d+\.?\d*(?:e-?\d+)?)(?![\w.])")
SEED_NOTE = "Seed of this process:"
"""How the line begins that this package's trainers log when they start."""
DECAY = 0.9
"""Of the moving average (nnunetv2/training/logging/nnunet_logger.py)."""


def training_logs(folder: Path) -> list[Path]:
    """The logs of a fold, oldest first; a training that is continued writes another one."""
    # nnU-Net does not pad month and day, so that names do not sort.
    return sorted(folder.glob("training_log_*.txt"), key=lambda path: [int(n) for n in re.findall(r"\d+", path.stem)])


def mean_dice(logged: str) -> float:
    """Mean of the classes' pseudo Dice in a log's list, `np.float32(0.5), nan` or `0.5, 0.25`; NaN if none has any."""
    values = [float(word) for word in _NUMBER.findall(logged.replace("(", " ").replace(")", " "))]
    defined = [value for value in values if not math.isnan(value)]
    return statistics.fmean(defined) if defined else math.nan


def moving_dice(history: Sequence[float], dice: float) -> float:
    """nnU-Net's moving average of the pseudo Dice after an epoch with `dice`, where epochs without one do not count.

    An epoch whose patches hold no foreground, none of it predicted, has no Dice (NaN). In nnU-Net's average a single
    such epoch would be NaN for the rest of the training, and checkpoint_best would never be written again.

    Args:
        history: the average after each earlier epoch.
        dice: the epoch's mean Dice; NaN if it has none.
    """
    known = [value for value in history if math.isfinite(value)]
    if not math.isfinite(dice):
        return known[-1] if known else math.nan
    return DECAY * known[-1] + (1 - DECAY) * dice if known else dice


def moving_dices(dices: Iterable[float]) -> list[float]:
    """The moving average after each of the epochs with these pseudo Dice, from the first epoch on."""
    averages: list[float] = []
    for dice in dices:
        averages.append(moving_dice(averages[-1:], dice))
    return averages
