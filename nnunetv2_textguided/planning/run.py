"""Plan a data set: nnU-Net's planner for text-guided networks, run through nnU-Net's Python API."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunetv2.paths import nnUNet_preprocessed, nnUNet_raw
from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name

from nnunetv2_textguided.errors import PlanningError
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
        PlanningError: data set or fingerprint are missing, or nothing fits the memory target.
        SettingsError: the preset, or a block in the plans that are replaced, is not valid.
    """
    name = _dataset_name(dataset)
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


def _dataset_name(dataset: str | int) -> str:
    for variable in (nnUNet_raw, nnUNet_preprocessed):
        if not variable.is_set():
            raise PlanningError(
                f"The environment variable {variable.env_var_name} is not set.",
                remedy="Set nnUNet_raw, nnUNet_preprocessed and nnUNet_results as for nnU-Net.",
            )
    unknown = PlanningError(
        f"There is no data set {dataset}.", where=str(nnUNet_raw), remedy="Check -d and nnUNet_raw."
    )
    try:
        name: str = maybe_convert_to_dataset_name(dataset)
    except (RuntimeError, ValueError) as e:
        raise unknown from e
    # nnU-Net compares beginnings only: it takes Dataset2203_X for data set 220.
    if isinstance(dataset, int) and not name.startswith(f"Dataset{dataset:03d}_"):
        raise unknown
    for path, remedy in (
        (Path(nnUNet_raw) / name / "dataset.json", "Put the raw data set there; planning reads its description."),
        (
            Path(nnUNet_preprocessed) / name / "dataset_fingerprint.json",
            f"Run `nnUNetv2_extract_fingerprint -d {name}` (or nnUNetv2_plan_and_preprocess) first.",
        ),
    ):
        if not path.is_file():
            raise PlanningError("The file does not exist.", where=path, remedy=remedy)
    return name
