"""How far a training is, read from nnU-Net's training logs, which every trainer writes."""

from __future__ import annotations

import itertools
import math
import re
import statistics
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from nnunetv2_textguided.nnunet.training_log import SEED_NOTE, mean_dice, moving_dices, training_logs

_LINE = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?): (.*)$")
_EPOCH = re.compile(r"^Epoch (\d+) *$")
_DICE = re.compile(r"^Pseudo dice \[(.*)\]")
_TIME = re.compile(r"^Epoch time: ([\d.]+) s")
_SEED = re.compile(rf"^{re.escape(SEED_NOTE)} (\d+)")
_PREDICT = re.compile(r"^predicting (\S+)")


@dataclass
class Progress:
    """What the logs of a fold say.

    Attributes:
        epochs: epochs that were finished, whichever resumption did them last.
        dice: pseudo Dice of each of them, mean over the foreground classes (NaN: undefined).
        seconds: wall time of each of them, validation iterations included.
        predicted: cases of the fold's validation that were started.
        seconds_per_case: median time of the validation per case; None: too few.
        last: when the last line was logged.
        seed: of the training process; None: not logged, as by stock trainers.
    """

    dice: dict[int, float] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)
    predicted: int = 0
    seconds_per_case: float | None = None
    last: datetime | None = None
    seed: int | None = None

    @property
    def epochs(self) -> int:
        """Epochs that the log has."""
        return max(self.dice, default=-1) + 1

    @property
    def ema_dice(self) -> float | None:
        """nnU-Net's moving average of the pseudo Dice; None: no epoch has any."""
        averages = moving_dices(self.dice[epoch] for epoch in sorted(self.dice))
        return averages[-1] if averages and not math.isnan(averages[-1]) else None

    @property
    def seconds_per_epoch(self) -> float | None:
        """Median over epochs, which the first (compilation, caches) and an interrupted one do not move."""
        return statistics.median(self.seconds.values()) if self.seconds else None


class ProgressReader:
    """Reads logs again only where they grew."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[tuple[int, ...], Progress]] = {}

    def read(self, folder: Path) -> Progress:
        """The progress of a fold."""
        logs = training_logs(folder)
        sizes = tuple(path.stat().st_size for path in logs)
        if folder not in self._seen or self._seen[folder][0] != sizes:
            progress = Progress()
            for path in logs:
                _read_log(path, progress)
            self._seen[folder] = sizes, progress
        return self._seen[folder][1]


def _read_log(path: Path, progress: Progress) -> None:
    epoch, times, predicted = None, [], 0
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if not (match := _LINE.match(line)):
            continue
        text = match[2]
        progress.last = datetime.fromisoformat(match[1])
        if found := _EPOCH.match(text):
            epoch = int(found[1])
            # Epochs that were done after the checkpoint from which this log continues are done again.
            progress.dice = {e: value for e, value in progress.dice.items() if e < epoch}
            progress.seconds = {e: value for e, value in progress.seconds.items() if e < epoch}
        elif epoch is not None and (found := _DICE.match(text)):
            progress.dice[epoch] = mean_dice(found[1])
        elif epoch is not None and (found := _TIME.match(text)):
            progress.seconds[epoch] = float(found[1])
        elif found := _SEED.match(text):
            progress.seed = int(found[1])
        elif (case := _PREDICT.match(text)) or text.startswith("Validation complete"):
            times.append(progress.last.timestamp())
            predicted += case is not None
    if times:
        differences = [after - before for before, after in itertools.pairwise(times)]
        progress.predicted = predicted
        progress.seconds_per_case = statistics.median(differences) if differences else None
