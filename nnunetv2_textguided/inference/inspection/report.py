"""What a trained model is: trainer, preset, prompts, encoder, phases reached, folds, Dice."""

from __future__ import annotations

import contextlib
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nnunetv2_textguided import software
from nnunetv2_textguided.errors import DataError, TextGuidedError
from nnunetv2_textguided.inference.inspection.files import FolderFiles, ModelFiles, models_in_zip
from nnunetv2_textguided.nnunet.checkpoints import read_checkpoint
from nnunetv2_textguided.settings import BLOCK, Settings
from nnunetv2_textguided.settings.presets import resolve

CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_latest.pth", "checkpoint_best.pth")
"""Of a fold's checkpoints, the first of these that exists tells how far it came."""


@dataclass
class FoldReport:
    """One fold.

    Attributes:
        name: fold_0, ... or the checkpoint's name.
        checkpoint: the file that was read; "" if there is none.
        finished: whether the training came to its end.
        epoch: epochs trained.
        phase: phase of the last epoch.
        alpha: strength of the refiner in the last epoch.
        best_ema_dice: best moving average of the pseudo Dice.
        validation_dice: mean foreground Dice of the validation cases (nnU-Net's summary.json).
        problem: why the checkpoint was not read.
    """

    name: str
    checkpoint: str = ""
    finished: bool = False
    epoch: int | None = None
    phase: str | None = None
    alpha: float | None = None
    best_ema_dice: float | None = None
    validation_dice: float | None = None
    problem: str | None = None
    plans: Mapping[str, Any] = field(default_factory=dict, repr=False)
    trainer: str | None = None
    configuration: str | None = None


@dataclass
class ModelReport:
    """One model (all folds of one trainer, plans and configuration)."""

    where: str
    trainer: str | None
    dataset: str | None
    plans_name: str | None
    configuration: str | None
    settings: Settings | None
    software: Mapping[str, str]
    folds: list[FoldReport]
    remarks: list[str]


def inspect_model(path: str | Path) -> list[ModelReport]:
    """Describe a model folder, a checkpoint or an exported ZIP.

    Raises:
        DataError: it is none of these, or damaged.
    """
    path = Path(path)
    if path.is_dir():
        return [_of_folder(FolderFiles(path))]
    if not path.exists():
        raise DataError("There is no such file or folder.", where=path, remedy="Check the path.")
    if path.suffix == ".zip":
        try:
            with zipfile.ZipFile(path) as archive:
                return [_of_folder(files) for files in models_in_zip(archive)]
        except zipfile.BadZipFile as e:
            raise DataError(f"The ZIP is damaged: {e}.", where=path, remedy="Copy or export it again.") from e
    return [_of_checkpoint(path)]


def _of_checkpoint(path: Path) -> ModelReport:
    fold = _read_fold(read_checkpoint(path), path.parent.name or path.name)
    fold.checkpoint, fold.finished = path.name, path.name == "checkpoint_final.pth"
    files = FolderFiles(path.parent.parent)
    summary = f"{path.parent.name}/validation/summary.json"
    fold.validation_dice = _validation_dice(files, summary) if fold.finished else None
    return _describe(str(path), [fold], {})


def _of_folder(files: ModelFiles) -> ModelReport:
    names = files.names()
    folds = sorted({name.split("/")[0] for name in names if name.startswith("fold_") and "/" in name})
    if "plans.json" not in names and not folds:
        raise DataError(
            "The folder holds no model: no plans.json and no fold_X.",
            where=files.where,
            remedy="Give the folder Trainer__Plans__configuration in nnUNet_results.",
        )
    content = files.read_json("plans.json") if "plans.json" in names else {}
    plans = content if isinstance(content, dict) else {}
    reports = [_of_fold(files, names, fold) for fold in folds]
    return _describe(files.where, reports, plans, files.name)


def _of_fold(files: ModelFiles, names: list[str], fold: str) -> FoldReport:
    found = next((name for name in CHECKPOINTS if f"{fold}/{name}" in names), None)
    report = FoldReport(fold)
    if found is not None:
        try:
            with files.local(f"{fold}/{found}") as path:
                report = _read_fold(read_checkpoint(path), fold)
        except TextGuidedError as error:
            report.problem = error.what
        report.checkpoint, report.finished = found, found == CHECKPOINTS[0]
    summary = f"{fold}/validation/summary.json"
    report.validation_dice = _validation_dice(files, summary) if summary in names else None
    return report


def _read_fold(content: Mapping[str, Any], name: str) -> FoldReport:
    phase, epoch = _last(content, "text_guidance/phase"), content.get("current_epoch")
    arguments = content["init_args"]
    plans = arguments.get("plans")
    return FoldReport(
        name,
        epoch=epoch if isinstance(epoch, int) else None,
        phase=_text(phase) or None,
        alpha=_number(_last(content, "text_guidance/alpha")),
        best_ema_dice=_number(content.get("_best_ema")),
        plans=plans if isinstance(plans, Mapping) else {},
        trainer=_text(content.get("trainer_name")),
        configuration=_text(arguments.get("configuration")),
    )


def _last(content: Mapping[str, Any], key: str) -> Any:
    log = content.get("logging")
    values = log.get(key) if isinstance(log, Mapping) else None
    return values[-1] if isinstance(values, list) and values else None


def _validation_dice(files: ModelFiles, name: str) -> float | None:
    if isinstance(files, FolderFiles) and not (files.folder / name).is_file():
        return None
    summary = files.read_json(name)
    mean = summary.get("foreground_mean") if isinstance(summary, dict) else None
    return _number(mean.get("Dice")) if isinstance(mean, dict) else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.floating)):
        return None
    with contextlib.suppress(OverflowError):  # an integer beyond the largest float
        return float(value) if math.isfinite(value) else None
    return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _describe(where: str, folds: list[FoldReport], plans: Mapping[str, Any], folder: str = "") -> ModelReport:
    """Facts of the checkpoints, which nobody overwrites, else of plans.json and the folder's name."""
    read = next((fold for fold in folds if fold.trainer is not None), None)
    parts = folder.split("__")
    trainer, plans_name, configuration = parts if len(parts) == 3 else (None, None, None)
    if read is not None:
        trainer, configuration, plans = read.trainer, read.configuration, read.plans or plans
    block = _block(plans, configuration)
    settings = resolve(block, where=where) if block is not None else None
    return ModelReport(
        where,
        trainer,
        _text(plans.get("dataset_name")),
        _text(plans.get("plans_name")) or plans_name,
        configuration,
        settings,
        versions if isinstance(versions := plans.get(software.KEY), Mapping) else {},
        folds,
        _disagreements(folds),
    )


def _block(plans: Mapping[str, Any], configuration: str | None) -> dict[str, Any] | None:
    block: Any = plans
    for key in ("configurations", configuration, BLOCK):
        block = block.get(key) if isinstance(block, Mapping) else None
    return dict(block) if isinstance(block, Mapping) else None


def _disagreements(folds: list[FoldReport]) -> list[str]:
    """Folds that were not told the same: an ensemble of them mixes models."""
    told: dict[tuple[Any, ...], list[str]] = {}
    for fold in folds:
        if fold.trainer is not None:
            block = _block(fold.plans, fold.configuration)
            text = resolve(block, where=fold.name).text.resolved if block is not None else None
            key = (fold.trainer, text and text.prompts_sha256, text and str(text.encoder.get("id")))
            told.setdefault(key, []).append(fold.name)
    if len(told) < 2:
        return []
    groups = [f"{', '.join(names)}: {trainer}, encoder {encoder}" for (trainer, _, encoder), names in told.items()]
    return ["the folds differ in trainer, prompts or encoder (" + "; ".join(groups) + ")"]
