"""Write a trained model as a folder that can be put on the Hugging Face hub, and that `install-model` takes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.files import read_json, visible, write_json, write_text
from nnunetv2_textguided.inference.inspection.report import inspect_model
from nnunetv2_textguided.inference.predictor import check_model_folder
from nnunetv2_textguided.inference.sharing.card import Licences, model_card
from nnunetv2_textguided.inference.sharing.manifest import CARD, NAME, Manifest, check_name, describe_file
from nnunetv2_textguided.inference.sharing.weights import export_checkpoint
from nnunetv2_textguided.software import software_versions

CHECKPOINT = "checkpoint_final.pth"
LEFT = (NAME, "debug.json", "benchmark_record.json", "predict_from_raw_data_args.json")
"""JSON files of a model folder that describe the machine that trained, not the model."""
SUMMARY = "validation/summary.json"


@dataclass(frozen=True)
class ExportOptions:
    """What is exported, and under which licences.

    Attributes:
        folds: None: all that have the checkpoint.
        checkpoint: name of the file in each fold's folder.
        licence: of the weights; None: as the training data.
        data_licence: of the training data; None: what dataset.json says.
        card: Markdown to put into the model card, such as that of `benchmark report`.
    """

    folds: Sequence[int | str] | None = None
    checkpoint: str = CHECKPOINT
    licence: str | None = None
    data_licence: str | None = None
    card: Path | None = None


def export_model(model: Path, target: Path, options: ExportOptions | None = None) -> list[Path]:
    """Write the folder; it appears whole or not at all.

    Args:
        model: trained model folder, Trainer__Plans__configuration in the data set's folder of nnUNet_results.
        target: folder to write; must not exist, or be empty.
        options: None: all folds, the training data's licence.

    Returns:
        The files written.

    Raises:
        DataError: the model is not complete, a checkpoint holds something that is not data, nothing says under which
            licence the training data are, or the target holds something.
    """
    options = options or ExportOptions()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DataError("The target exists and is not an empty folder.", where=target, remedy="Choose another with -o.")
    model = model.resolve()
    check_model_folder(model, tuple(options.folds or ()) or None, options.checkpoint)
    folds = _folds(model, options)
    description = read_json(model / "dataset.json", error=DataError)
    licences = Licences.of(description, options.licence, options.data_licence)
    body = options.card.read_text(encoding="utf-8") if options.card else None
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as hidden:
        folder = Path(hidden) / "model"
        for fold in folds:
            export_checkpoint(fold / options.checkpoint, folder / fold.name)
            _side_files(fold, folder / fold.name)
        _side_files(model, folder)
        report = inspect_model(model)[0]
        write_text(folder / CARD, model_card(report, description, licences, body))
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        files = {check_name(path.relative_to(folder).as_posix(), str(model)): describe_file(path) for path in paths}
        Manifest(report.dataset or model.parent.name, model.name, files, software_versions()).write(folder)
        if target.exists():
            target.rmdir()
        shutil.move(folder, target)
    return sorted(path for path in target.rglob("*") if path.is_file())


def _folds(model: Path, options: ExportOptions) -> list[Path]:
    if options.folds:
        return [model / f"fold_{fold}" for fold in options.folds]
    found = [path.parent for path in visible(model, f"fold_*/{options.checkpoint}")]
    if not found:
        raise DataError(f"No fold has a {options.checkpoint}.", where=model, remedy="Train it, or choose with -chk.")
    return found


def _side_files(source: Path, target: Path) -> None:
    """Copy what is read beside a checkpoint: JSON and safetensors, and nnU-Net's summary without its cases."""
    for path in [*visible(source, "*.json"), *visible(source, "*.safetensors")]:
        if path.name not in LEFT:
            shutil.copyfile(path, target / path.name)
    summary = source / SUMMARY
    if summary.is_file():
        content: Any = read_json(summary, error=DataError)
        # Not metric_per_case: it names patients, and folders of the machine that trained.
        write_json(target / SUMMARY, {key: content[key] for key in ("foreground_mean", "mean") if key in content})
