"""nnU-Net's plans: read, and a configuration of them with all that it inherits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunetv2.utilities.label_handling.label_handling import LabelManager, determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunetv2_textguided.errors import PlanningError
from nnunetv2_textguided.files import read_json

__all__ = [
    "ConfigurationManager",
    "LabelManager",
    "PlansManager",
    "image_channels",
    "merged_configuration",
    "read_plans",
]


def read_plans(path: Path) -> dict[str, Any]:
    """nnU-Net's plans.

    Raises:
        PlanningError: the file is missing, damaged, or something else.
    """
    plans = read_json(path, error=PlanningError)
    if not isinstance(plans, dict) or not isinstance(plans.get("configurations"), dict):
        raise PlanningError("These are no nnU-Net plans.", where=path, remedy="Move the file away and plan again.")
    return plans


def merged_configuration(plans: Mapping[str, Any], configuration: str) -> dict[str, Any]:
    """A configuration of valid plans with all that it inherits."""
    # nnUNetv2_train adds this key to the plans of a training that it continues.
    known = {key: value for key, value in plans.items() if key != "continue_training"}
    merged: dict[str, Any] = PlansManager(known).get_configuration(configuration).configuration
    return merged


def image_channels(plans: PlansManager, configuration: ConfigurationManager, dataset_json: Mapping[str, Any]) -> int:
    """Channels that the network of a configuration takes."""
    return int(determine_num_input_channels(plans, configuration, dict(dataset_json)))
