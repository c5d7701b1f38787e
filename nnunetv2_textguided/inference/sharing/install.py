"""Install a shared model into nnU-Net's results: every file checked, no pickle read, whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.files import read_json
from nnunetv2_textguided.inference.sharing.export import CHECKPOINT
from nnunetv2_textguided.inference.sharing.manifest import (
    NAME,
    Manifest,
    check_folder,
    copy_checked,
    parse_manifest,
)
from nnunetv2_textguided.inference.sharing.source import Source, open_source
from nnunetv2_textguided.inference.sharing.weights import REST, WEIGHTS, build_checkpoint


def install_model(name: str, results: Path, dataset: str | None = None) -> Path:
    """Install a model that `export_model` wrote.

    Args:
        name: folder, ZIP, or organisation/name[@revision] on the Hugging Face hub.
        results: nnU-Net's folder nnUNet_results.
        dataset: install under this data set's name; None: the one that the model was trained on.

    Returns:
        The model's folder.

    Raises:
        DataError: the model is damaged, changed or hostile, cannot be had, or is there already.
    """
    with open_source(name) as source:
        manifest = parse_manifest(source.manifest(), f"{source.where}: {NAME}")
        target = results / check_folder(dataset or manifest.dataset, "--dataset") / manifest.model
        if target.exists():
            raise DataError(
                "A model of this name is installed already.",
                where=target,
                remedy="Remove or rename it, or install under another data set with --dataset.",
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as hidden:
            folder = Path(hidden) / "model"
            _copy(source, manifest, folder)
            _build(manifest, folder)
            _publish(folder, target)
    return target


def _copy(source: Source, manifest: Manifest, folder: Path) -> None:
    for name, expected in manifest.files.items():
        with source.open(name) as stream:
            copy_checked(stream, folder / name, expected, f"{source.where}: {name}")


def _build(manifest: Manifest, folder: Path) -> None:
    """Turn safetensors and JSON into nnU-Net's checkpoints, and check that they belong to the plans."""
    plans: Any = read_json(folder / "plans.json", error=DataError)
    configurations = plans.get("configurations") if isinstance(plans, dict) else None
    folds = sorted(path.parent for path in folder.glob(f"fold_*/{WEIGHTS}"))
    if not folds or not (folder / "dataset.json").is_file() or not isinstance(configurations, dict):
        raise DataError(
            "The model is not complete: weights, plans.json or dataset.json is missing.", where=manifest.model
        )
    for fold in folds:
        rest = build_checkpoint(fold, fold / CHECKPOINT)
        configuration = rest["init_args"].get("configuration")
        if configuration not in configurations:
            raise DataError(f"The plans have no configuration {configuration!r}.", where=f"{fold.name}/{REST}")
        (fold / WEIGHTS).unlink()
        (fold / REST).unlink()


def _publish(folder: Path, target: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb+") as stream:
                os.fsync(stream.fileno())
    try:
        os.rename(folder, target)
    except OSError as error:
        if target.exists():
            raise DataError("The model was installed by another process.", where=target) from error
        raise DataError(f"The model cannot be put into place: {error.strerror}.", where=target) from error
