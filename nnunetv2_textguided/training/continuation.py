"""Which checkpoint a training continues from, and what the one it continues from does not say."""

from __future__ import annotations

import math
import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunetv2_textguided.errors import TrainingError
from nnunetv2_textguided.nnunet.checkpoints import read_content
from nnunetv2_textguided.nnunet.training_log import moving_dice as moving_dice  # where it was before, for scripts

ORDER = ("checkpoint_final.pth", "checkpoint_latest.pth", "checkpoint_best.pth")
"""The order in which nnU-Net's --c looks for a checkpoint; it takes the first that exists."""
_NEEDED = {
    "network_weights": Mapping,
    "optimizer_state": Mapping,
    "logging": Mapping,
    "init_args": Mapping,
    "current_epoch": int,
}
_LOGGED = ("train_losses", "val_losses", "mean_fg_dice", "ema_fg_dice", "lrs")
# What opening the remains of a file may raise.
_UNREADABLE = (OSError, EOFError, ValueError, NotImplementedError, zipfile.BadZipFile, struct.error)


def open_checkpoint(path: str | Path) -> Mapping[str, Any]:
    """A checkpoint to continue from, its weights left on the disk.

    Raises:
        TrainingError: it is damaged (a flipped bit is enough) or no checkpoint of nnU-Net.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                broken = archive.testzip()  # torch.load does not look at the checksums
            if broken is not None:
                raise TrainingError(f"The checkpoint cannot be read: {broken} is damaged.", where=path, remedy=_REMEDY)
        content = read_content(path, TrainingError)
    except TrainingError as e:
        raise TrainingError(e.what, where=path, remedy=_REMEDY) from e
    except _UNREADABLE as e:
        reason = (str(e) or type(e).__name__).splitlines()[0]
        raise TrainingError(f"The checkpoint cannot be read: {reason}", where=path, remedy=_REMEDY) from e
    check_structure(content, path)
    checked: Mapping[str, Any] = content
    return checked


def check_structure(content: Any, where: object) -> None:
    """Whether `content` has what nnU-Net's `load_checkpoint` and this package read.

    Raises:
        TrainingError: a part is missing or of another kind.
    """
    parts = content if isinstance(content, Mapping) else {}
    wrong = [key for key, kind in _NEEDED.items() if not isinstance(parts.get(key), kind)]
    wrong += [] if "_best_ema" in parts else ["_best_ema"]
    if not wrong:
        if not isinstance(parts["init_args"].get("plans"), Mapping):
            wrong.append("init_args.plans")
        # nnU-Net's logger appends by position, and stops with an assertion where a list is too long.
        lists = (parts["logging"].get(key) for key in _LOGGED)
        if not all(isinstance(values, list) and len(values) <= parts["current_epoch"] for values in lists):
            wrong.append(f"log of {parts['current_epoch']} epochs")
    if wrong:
        raise TrainingError(
            f"The checkpoint cannot be read: it is not a whole one of nnU-Net's (no {', '.join(wrong)}).",
            where=where,
            remedy=_REMEDY,
        )


_REMEDY = (
    "Move it away or copy it again from a backup. --c continues from the next readable one of "
    "checkpoint_final, checkpoint_latest and checkpoint_best, and starts anew if there is none."
)


def choose_checkpoint(path: str) -> tuple[str, str | None]:
    """The checkpoint to continue from instead of a damaged `path`, and what to tell about it; `path` if it is whole.

    Raises:
        TrainingError: `path` is damaged, and so are the ones that nnU-Net would look at next.
    """
    try:
        open_checkpoint(path)
        return path, None
    except TrainingError as damage:
        folder, name = Path(path).parent, Path(path).name
        later = ORDER[ORDER.index(name) + 1 :] if name in ORDER else ()
        for other in later:
            if not (folder / other).is_file():
                continue
            try:
                epoch = open_checkpoint(folder / other)["current_epoch"]
            except TrainingError:
                continue
            told = f"WARNING: {damage.what} ({path})\n" + f"Continuing from {other} instead, which has {epoch} epochs"
            return str(folder / other), f"{told}{_lost(folder, epoch)}."
        raise


def _lost(folder: Path, epoch: int) -> str:
    """What the epochs after `epoch` were, as far as the log that is written every epoch tells."""
    log = folder / "text_guidance_log.csv"
    if not log.is_file():
        return "; later ones are trained again"
    logged = len(log.read_text(encoding="utf-8", errors="replace").splitlines()) - 1
    return f"; {max(logged - epoch, 0)} that had been trained after it are trained again"


def best_so_far(history: Sequence[float]) -> float | None:
    """The best moving Dice of the logged epochs; None if there is none.

    checkpoint_latest is written before the best value of its own epoch is noted: the log knows it, the checkpoint's
    `_best_ema` does not.
    """
    return max((value for value in history if math.isfinite(value)), default=None)


def last_is_best(history: Sequence[float]) -> bool:
    """Whether the last logged epoch has a better moving Dice than every one before it."""
    if not history or not math.isfinite(history[-1]):
        return False
    return not any(value >= history[-1] for value in history[:-1])


def epochs_of(path: Path) -> int:
    """Epochs that a checkpoint has; 0 if it is missing or damaged."""
    if not path.is_file():
        return 0
    try:
        epochs: int = open_checkpoint(path)["current_epoch"]
        return epochs
    except TrainingError:
        return 0
