"""From stock plans to plans that describe a text-guided training completely."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from nnunetv2_textguided import software
from nnunetv2_textguided.anatomy.labels import anatomy_labels
from nnunetv2_textguided.errors import TrainingError
from nnunetv2_textguided.network.from_plans import NETWORK_CLASS
from nnunetv2_textguided.nnunet.labels import read_labels
from nnunetv2_textguided.nnunet.plans import LabelManager
from nnunetv2_textguided.settings import BLOCK, Settings
from nnunetv2_textguided.settings.presets import resolve
from nnunetv2_textguided.training.configuration import read_configuration, read_label_manager
from nnunetv2_textguided.training.report_labels import reported_channels
from nnunetv2_textguided.training.text import TrainingText, load_text

_CASCADE = (
    "Configuration {!r} is the second stage of a cascade, which nnUNetTrainerAlignRefine does not support: its extra "
    "input channels are label maps, not images. Use 3d_fullres or 3d_lowres."
)


def describe_training(
    plans: Mapping[str, Any],
    configuration: str,
    dataset_json: dict[str, Any],
    fixed: Mapping[str, Any],
    dataset_folder: Path | None,
) -> tuple[dict[str, Any], Settings, TrainingText | None]:
    """Complete the `text_guidance` block of a configuration, and record the versions of the software that trains.

    Args:
        plans, configuration: nnU-Net's plans, which are not changed, and the name of one of their configurations.
        dataset_json: the data set's description.
        fixed: settings that a trainer class fixes.
        dataset_folder: the data set's folder in nnUNet_preprocessed.

    Returns:
        A copy of the plans with the complete block, the settings, and the text (None without text).

    Raises:
        NotImplementedError: the configuration is the second stage of a cascade.
        TrainingError: nnU-Net's part of the plans is not valid.
        DataError: the data set's labels are not valid.
        SettingsError, EmbeddingFileError: the block or the text is not valid.
    """
    origin = f"plans {plans.get('plans_name', '?')!r}"
    merged = read_configuration(plans, configuration, origin)
    described: dict[str, Any] = {**deepcopy(dict(plans)), software.KEY: software.software_versions()}
    if merged.get("previous_stage") is not None:
        raise NotImplementedError(_CASCADE.format(configuration))
    settings = resolve(merged.get(BLOCK), fixed, where=f"{origin}, configuration {configuration!r}, {BLOCK}")
    manager = read_label_manager(plans, dataset_json, origin)
    if settings.text.supervision.enabled:
        reported_channels(settings.text.supervision, dataset_json, manager, len(merged["patch_size"]))
    text = None
    if settings.uses_text:
        labels = list(read_labels(dataset_json).foreground)
        text = load_text(settings, labels, dataset_folder, _anatomy(settings, dataset_json, manager))
        settings = settings.model_copy(update={"text": settings.text.model_copy(update={"resolved": text.resolved})})
    _put_block(described["configurations"][configuration], merged["architecture"], settings)
    return described, settings, text


def _put_block(configuration: dict[str, Any], architecture: Mapping[str, Any], settings: Settings) -> None:
    configuration[BLOCK] = settings.block()
    if architecture["network_class_name"] == NETWORK_CLASS:
        # Plans that name our network carry the block among its arguments too, so that a stock trainer can build it.
        kwargs = {**deepcopy(architecture["arch_kwargs"]), BLOCK: settings.block()}
        configuration["architecture"] = {**deepcopy(architecture), "arch_kwargs": kwargs}


def _anatomy(settings: Settings, dataset_json: dict[str, Any], manager: LabelManager) -> list[str]:
    """Anatomical structures that the text is aligned with.

    Raises:
        TrainingError: nnU-Net cannot load them.
        DataError: their description is not valid.
    """
    names = list(anatomy_labels(dataset_json)) if settings.alignment.anatomy else []
    if (names or settings.grounding.enabled) and manager.has_regions:
        # Its conversion of labels to regions keeps nothing else of a target.
        raise TrainingError(
            "Anatomy cannot be used with region-based labels.",
            where="dataset.json, anatomy",
            remedy="Give each region a label of its own, or set alignment.anatomy and grounding.enabled to false.",
        )
    return names


def nnunet_attributes(settings: Settings) -> dict[str, Any]:
    """What the settings change of the attributes that nnU-Net's trainer has."""
    training, optimiser = settings.training, settings.optimiser
    chosen = {
        "initial_lr": optimiser.lr,
        "weight_decay": optimiser.weight_decay,
        "num_epochs": training.epochs,
        "num_iterations_per_epoch": training.iterations_per_epoch,
        "num_val_iterations_per_epoch": training.val_iterations_per_epoch,
        "save_every": training.save_every,
        "oversample_foreground_percent": training.oversample_foreground,
        "probabilistic_oversampling": training.probabilistic_oversampling,
    }
    return {name: value for name, value in chosen.items() if value is not None}
