"""A configuration of nnU-Net's plans, with what nnU-Net takes for granted checked first."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nnunetv2_textguided.errors import TrainingError
from nnunetv2_textguided.files import MAX_DEPTH, is_deep
from nnunetv2_textguided.nnunet.labels import trainable_labels
from nnunetv2_textguided.nnunet.plans import LabelManager, PlansManager

_REMEDY = "Plan the data set again (nnUNetv2_plan_experiment or nnUNetv2_textguided plan), or restore the file."
_LABELS = 'nnU-Net v2 expects {"background": 0, "name": 1, ...}, for regions also regions_class_order.'
# What nnU-Net's own reading of unusual plans ends in: it has assertions and look-ups, not errors for users.
_BROKEN = (KeyError, AssertionError, RuntimeError, ValueError, TypeError, AttributeError, IndexError)


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)


class _Architecture(_Part):
    network_class_name: str
    arch_kwargs: dict[str, Any]
    requires_import: list[str] = Field(alias="_kw_requires_import")


class _Configuration(_Part):
    data_identifier: str
    batch_size: int = Field(ge=1)
    patch_size: list[int] = Field(min_length=2, max_length=3)
    batch_dice: bool
    architecture: _Architecture


class _Plans(_Part):
    dataset_name: str
    plans_name: str
    configurations: dict[str, dict[str, Any]]


def read_configuration(plans: Mapping[str, Any], configuration: str, where: object = "plans") -> dict[str, Any]:
    """The configuration with all that it inherits, as nnU-Net reads it.

    Args:
        plans: nnU-Net's plans; not changed.
        configuration: name of the configuration.
        where: names the origin of the plans in errors.

    Raises:
        TrainingError: the plans lack it, or have something else where nnU-Net expects a value; names the key.
    """
    if is_deep(dict(plans)):
        raise TrainingError(f"The plans are nested deeper than {MAX_DEPTH} levels.", where=where, remedy=_REMEDY)
    content = {key: value for key, value in plans.items() if key != "continue_training"}
    _check(_Plans, content, where)
    if configuration not in content["configurations"]:
        raise TrainingError(
            f"The plans have no configuration {configuration!r}.",
            where=where,
            remedy=f"One of {', '.join(content['configurations'])}.",
        )
    try:
        merged: dict[str, Any] = PlansManager(deepcopy(content)).get_configuration(configuration).configuration
    except _BROKEN as e:
        raise TrainingError(
            f"nnU-Net cannot read configuration {configuration!r}: {type(e).__name__}: {e}", where=where, remedy=_REMEDY
        ) from e
    _check(_Configuration, merged, f"{where}, configuration {configuration!r}")
    if min(merged["patch_size"]) < 1:
        raise TrainingError("A patch axis has no voxel.", where=f"{where}, patch_size", remedy=_REMEDY)
    return merged


def read_label_manager(
    plans: Mapping[str, Any], dataset_json: Mapping[str, Any], where: object = "plans"
) -> LabelManager:
    """nnU-Net's label manager for a data set.

    Raises:
        DataError: the description of the data set has labels on which no network can be trained.
        TrainingError: nnU-Net does not understand them for another reason.
    """
    trainable_labels(dataset_json)
    try:
        manager: LabelManager = PlansManager(dict(plans)).get_label_manager(dict(dataset_json))
    except _BROKEN as e:
        raise TrainingError(
            f"nnU-Net does not understand the labels: {type(e).__name__}: {e}",
            where=f"dataset.json, labels; {where}, label_manager",
            remedy=_LABELS,
        ) from e
    return manager


def _check(model: type[BaseModel], value: Any, where: object) -> None:
    try:
        model.model_validate(value)
    except ValidationError as e:
        lines = [f"{'.'.join(map(str, problem['loc'])) or '(all)'}: {problem['msg']}" for problem in e.errors()]
        raise TrainingError("\n".join(dict.fromkeys(lines)), where=where, remedy=_REMEDY) from e
