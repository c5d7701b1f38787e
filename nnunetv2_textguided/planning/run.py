"""Plan a data set: nnU-Net's planner for text-guided networks, run through nnU-Net's Python API."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunetv2_textguided.errors import DataError, PlanningError
from nnunetv2_textguided.files import read_json
from nnunetv2_textguided.nnunet.datasets import dataset_name
from nnunetv2_textguided.nnunet.folders import PREPROCESSED, RAW, required_path
from nnunetv2_textguided.nnunet.labels import trainable_labels
from nnunetv2_textguided.nnunet.raw import training_cases
from nnunetv2_textguided.nnunet.splits import SPLITS, check_folds
from nnunetv2_textguided.planning.blocks import PlanRequest
from nnunetv2_textguided.planning.fit import Decision
from nnunetv2_textguided.planning.planners import (
    AlignRefinePlanner,
    AlignRefineResEncLPlanner,
    AlignRefineResEncMPlanner,
    AlignRefineResEncXLPlanner,
)

PLANNERS: dict[str | None, type[Any]] = {
    None: AlignRefinePlanner,
    "M": AlignRefineResEncMPlanner,
    "L": AlignRefineResEncLPlanner,
    "XL": AlignRefineResEncXLPlanner,
}


@dataclass(frozen=True)
class PlanResult:
    """What planning a data set led to.

    Attributes:
        dataset: name of the data set.
        path: the plans file.
        plans: its content.
        decisions: per configuration, what was decided and what it costs.
        gigabytes: the memory target.
        notes: what the user should know about the settings.
    """

    dataset: str
    path: Path
    plans: dict[str, Any]
    decisions: dict[str, Decision]
    gigabytes: float
    notes: tuple[str, ...]


def plan_dataset(
    dataset: str | int,
    residual: str | None = None,
    gpu_memory: float | None = None,
    request: PlanRequest | None = None,
    plans_name: str | None = None,
    target_spacing: Sequence[float] | None = None,
) -> PlanResult:
    """Plan a data set whose fingerprint nnU-Net has extracted, and write the plans.

    Args:
        dataset: id or name.
        residual: None for plain encoders; "M", "L" or "XL" for nnU-Net's residual encoders.
        gpu_memory: memory target in GB, as nnU-Net means it; None: the planner's own.
        request: what is asked for beyond nnU-Net's options.
        plans_name: name of the plans; None: the planner's own.
        target_spacing: spacing of 3d_fullres in mm, in the order of the image axes; None: nnU-Net's choice.

    Raises:
        DataError: there is no such data set, its labels or folds cannot be trained, or a variable is not set.
        PlanningError: the fingerprint is missing, or nothing fits the memory target.
        SettingsError: the preset, or a block in the plans that are replaced, is not valid.
    """
    name = dataset_name(dataset, RAW, PREPROCESSED)
    _check_files(name)
    _check_description(name)
    options: dict[str, Any] = {"gpu_memory_target_in_gb": gpu_memory, "plans_name": plans_name}
    options = {key: value for key, value in options.items() if value is not None}
    if target_spacing is not None:
        options["overwrite_target_spacing"] = [float(value) for value in target_spacing]
    with warnings.catch_warnings():
        # A memory target of the user's own is no mistake.
        warnings.filterwarnings("ignore", message=".*non-standard gpu_memory_target_in_gb.*")
        planner = PLANNERS[residual](name, request=request, **options)
    # nnU-Net prints every attempt and all plans.
    with contextlib.redirect_stdout(io.StringIO()):
        planner.plan_experiment()
    notes = tuple(note for configuration in planner.decisions for note in planner.notes(configuration))
    return PlanResult(name, planner.plans_file, planner.plans, planner.decisions, planner.UNet_vram_target_GB, notes)


def _check_description(name: str) -> None:
    """Raise DataError for labels or folds that a training on these plans would refuse."""
    path = required_path(RAW) / name / "dataset.json"
    dataset_json = read_json(path, error=DataError)
    trainable_labels(dataset_json, path)
    splits, cases = required_path(PREPROCESSED) / name / SPLITS, training_cases(path.parent, dataset_json)
    if splits.is_file() and cases:
        check_folds(splits, cases)


def _check_files(name: str) -> None:
    fingerprint = f"Run `nnUNetv2_extract_fingerprint -d {name}` (or nnUNetv2_plan_and_preprocess) first."
    for path, remedy in (
        (required_path(RAW) / name / "dataset.json", "Put the raw data set there: planning reads its description."),
        (required_path(PREPROCESSED) / name / "dataset_fingerprint.json", fingerprint),
    ):
        if not path.is_file():
            raise PlanningError("The file does not exist.", where=path, remedy=remedy)
