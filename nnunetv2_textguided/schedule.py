"""Training phases: a pure function from the epoch and the logged history to the weights of the parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from nnunetv2_textguided.settings import ScheduleSettings, Settings

Phase = Literal["segmentation", "warm-up", "ramp", "align", "refine"]


@dataclass(frozen=True)
class PhaseWeights:
    """Weights of one epoch.

    Attributes:
        phase: name of the phase; "segmentation" throughout for a network without text.
        align: lambda_align.
        heat: lambda_heat.
        alpha: strength of the refiner.
        refine: weight of the refiner's own loss.
    """

    phase: Phase
    align: float
    heat: float
    alpha: float
    refine: float = 0.0

    def __str__(self) -> str:
        return f"{self.phase} (lambda_align {self.align:.4g}, lambda_heat {self.heat:.4g}, alpha {self.alpha:.4g})"


@dataclass(frozen=True)
class History:
    """What has been logged, one value per finished epoch; the dynamic ramp looks at it.

    Attributes:
        train_losses: mean training loss.
        ema_dice: exponential moving average of the pseudo Dice.
    """

    train_losses: Sequence[float] = ()
    ema_dice: Sequence[float] = ()


def phase_weights(epoch: int, num_epochs: int, settings: Settings, history: History) -> PhaseWeights:
    """Weights of `epoch` (0-based; docs/method.md, Phases).

    The result depends on nothing else, so a run that is killed and continued gets the weights that it would have got.

    Args:
        epoch: the epoch that is about to start.
        num_epochs: length of the training, to which the fractions of the schedule refer.
        settings: complete settings.
        history: values of at least the epochs before `epoch`; later ones are not looked at.
    """
    if not settings.uses_text:
        return PhaseWeights("segmentation", 0.0, 0.0, 0.0)
    schedule, parts = settings.schedule, settings.components
    start = ramp_start(epoch, num_epochs, schedule, history)
    strength = _rise(epoch, start, schedule.ramp * num_epochs)
    refine_start = refine_epoch(num_epochs, schedule)
    refining = _rise(epoch, refine_start, schedule.refine_ramp * num_epochs)
    auxiliary = strength * (1 - refining * (1 - schedule.auxiliary_in_refine))
    phase: Phase = "warm-up" if strength == 0 else "ramp" if strength < 1 else "align"
    if epoch >= refine_start:
        phase = "refine"
    return PhaseWeights(
        phase,
        align=settings.alignment.weight * auxiliary if "alignment" in parts else 0.0,
        heat=settings.heatmap.weight * auxiliary if "heatmap" in parts else 0.0,
        alpha=settings.refiner.alpha * refining if "refiner" in parts else 0.0,
        # At full strength at once: nothing but the refiner learns from it.
        refine=settings.refiner.weight if "refiner" in parts and refining else 0.0,
    )


def refine_epoch(num_epochs: int, schedule: ScheduleSettings) -> int:
    """First epoch of the refine phase; `num_epochs` if there is none."""
    return round(schedule.refine * num_epochs)


def ramp_start(epoch: int, num_epochs: int, schedule: ScheduleSettings, history: History) -> int:
    """First epoch of the ramp, as far as it is known at `epoch`; `latest_ramp_start` while still waiting."""
    earliest = round(schedule.warmup * num_epochs)
    if schedule.warmup > 0:
        # However short the training: one epoch of warm-up, as long as that leaves one before the refine phase.
        earliest = max(earliest, min(1, refine_epoch(num_epochs, schedule) - 1), 0)
    if not schedule.dynamic:
        return earliest
    latest = max(round(schedule.latest_ramp_start * num_epochs), earliest)
    for candidate in range(earliest, min(epoch, latest) + 1):
        if _ready(candidate, schedule, history):
            return candidate
    return latest


def _ready(epoch: int, schedule: ScheduleSettings, history: History) -> bool:
    """Whether, before `epoch`, the loss was stable or the Dice high enough."""
    dice, losses = history.ema_dice[:epoch], history.train_losses[:epoch]
    if dice and dice[-1] >= schedule.ema_dice:
        return True
    window = schedule.stable_window
    if len(losses) < 2 * window:
        return False
    before, now = sum(losses[-2 * window : -window]) / window, sum(losses[-window:]) / window
    return abs(now - before) < schedule.stable_change * abs(before)


def _rise(epoch: int, start: int, duration: float) -> float:
    """0 before `start`, then linearly up to 1 over `duration` epochs; already above 0 in the first of them."""
    if epoch < start:
        return 0.0
    return min(1.0, (epoch - start + 1) / max(duration, 1.0))
