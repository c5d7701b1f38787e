"""Training phases: a pure function from the epoch and the logged history to the weights of the parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from nnunetv2_textguided.settings import ScheduleSettings, Settings, SupervisionSettings

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
        fitting: only the refiner learns; the rest of the network is finished.
        report: weight of the losses made from reports.
    """

    phase: Phase
    align: float
    heat: float
    alpha: float
    refine: float = 0.0
    fitting: bool = False
    report: float = 0.0

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
    report = _report_weight(epoch, num_epochs, settings.text.supervision)
    if not settings.uses_text:
        return PhaseWeights("segmentation", 0.0, 0.0, 0.0, report=report)
    schedule, parts = settings.schedule, settings.components
    start = ramp_start(epoch, num_epochs, settings, history)
    strength = _rise(epoch, start, schedule.ramp * num_epochs)
    refine_start = refine_epoch(num_epochs, settings)
    fitting = settings.fits_refiner and epoch >= refine_start
    # A refiner that is fitted to a finished network acts at once: its change starts at zero.
    refining = 1.0 if fitting else _rise(epoch, refine_start, schedule.refine_ramp * num_epochs)
    auxiliary = strength * (1 - refining * (1 - schedule.auxiliary_in_refine))
    phase: Phase = "warm-up" if strength == 0 else "ramp" if strength < 1 else "align"
    if epoch >= refine_start:
        phase = "refine"
    return PhaseWeights(
        phase,
        align=settings.alignment.weight * auxiliary if "alignment" in parts else 0.0,
        heat=settings.heatmap.weight * auxiliary if "heatmap" in parts else 0.0,
        alpha=settings.refiner.alpha * refining if "refiner" in parts else 0.0,
        refine=settings.refiner.weight if fitting else 0.0,
        fitting=fitting,
        report=0.0 if fitting else report,
    )


def _report_weight(epoch: int, num_epochs: int, supervision: SupervisionSettings) -> float:
    if not supervision.enabled:
        return 0.0
    return supervision.weight * _rise(epoch, round(supervision.start * num_epochs), supervision.ramp * num_epochs)


def refine_epoch(num_epochs: int, settings: Settings) -> int:
    """First epoch of the refine phase; `num_epochs` if there is none.

    Where the rest of the network is finished before that, at least one epoch remains for each of the two.
    """
    start = round(settings.schedule.refine * num_epochs)
    if settings.fits_refiner and settings.schedule.refine < 1 and num_epochs > 1:
        return max(1, min(start, num_epochs - 1))
    return num_epochs if settings.fits_refiner else start


def network_epochs(num_epochs: int, settings: Settings) -> int:
    """Epochs in which the network without the refiner learns: all of them, unless the refiner is fitted afterwards."""
    return refine_epoch(num_epochs, settings) if settings.fits_refiner else num_epochs


def ramp_start(epoch: int, num_epochs: int, settings: Settings, history: History) -> int:
    """First epoch of the ramp, as far as it is known at `epoch`; `latest_ramp_start` while still waiting."""
    schedule = settings.schedule
    earliest = round(schedule.warmup * num_epochs)
    if schedule.warmup > 0:
        # However short the training: one epoch of warm-up, as long as that leaves one before the refine phase.
        earliest = max(earliest, min(1, refine_epoch(num_epochs, settings) - 1), 0)
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
