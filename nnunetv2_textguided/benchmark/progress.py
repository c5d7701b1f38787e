"""How far a training is, read from nnU-Net's training logs, which every trainer writes."""

from __future__ import annotations

import itertools
import json
import math
import re
import statistics
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

_LINE = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?): (.*)$")
_EPOCH = re.compile(r"^Epoch (\d+) *$")
_DICE = re.compile(r"^Pseudo dice \[(.*)\]")
_NUMBER = re.compile(r"(?<![\w.])(?:nan|-?\d+\.?\d*(?:e-?\d+)?)(?![\w.])")
_TIME = re.compile(r"^Epoch time: ([\d.]+) s")
_PREDICT = re.compile(r"^predicting (\S+)")
DECAY = 0.9


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
    """

    dice: dict[int, float] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)
    predicted: int = 0
    seconds_per_case: float | None = None
    last: datetime | None = None

    @property
    def epochs(self) -> int:
        return max(self.dice, default=-1) + 1

    @property
    def ema_dice(self) -> float | None:
        """nnU-Net's moving average of the pseudo Dice (nnunetv2/training/logging/nnunet_logger.py)."""
        ema: float | None = None
        for _, value in sorted(self.dice.items()):
            ema = value if ema is None else DECAY * ema + (1 - DECAY) * value
        return None if ema is None or math.isnan(ema) else ema

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
        logs = sorted(folder.glob("training_log_*.txt"), key=_started)
        sizes = tuple(path.stat().st_size for path in logs)
        if folder not in self._seen or self._seen[folder][0] != sizes:
            progress = Progress()
            for path in logs:
                _read_log(path, progress)
            self._seen[folder] = sizes, progress
        return self._seen[folder][1]


def read_epochs(folder: Path) -> int | None:
    """The number of epochs that a training has, from what nnU-Net notes when it starts; None: not noted (yet)."""
    try:
        return int(json.loads((folder / "debug.json").read_text(encoding="utf-8"))["num_epochs"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _started(path: Path) -> tuple[int, ...]:
    # nnU-Net does not pad month and day, so that names do not sort.
    return tuple(int(number) for number in re.findall(r"\d+", path.stem))


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
            progress.dice[epoch] = _mean(found[1])
        elif epoch is not None and (found := _TIME.match(text)):
            progress.seconds[epoch] = float(found[1])
        elif (case := _PREDICT.match(text)) or text.startswith("Validation complete"):
            times.append(progress.last.timestamp())
            predicted += case is not None
    if times:
        differences = [after - before for before, after in itertools.pairwise(times)]
        progress.predicted = predicted
        progress.seconds_per_case = statistics.median(differences) if differences else None


def _mean(text: str) -> float:
    """Mean of the classes' Dice that are defined: `np.float32(0.5), nan` and `0.5, 0.25` alike."""
    values = [float(word) for word in _NUMBER.findall(text.replace("(", " ").replace(")", " "))]
    defined = [value for value in values if not math.isnan(value)]
    return statistics.fmean(defined) if defined else math.nan
