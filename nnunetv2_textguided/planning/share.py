"""Preprocessed data that plans can share: nothing is preprocessed twice."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nnunetv2_textguided.nnunet.plans import merged_configuration, read_plans

SAME = (
    "preprocessor_name",
    "normalization_schemes",
    "use_mask_for_norm",
    "resampling_fn_data",
    "resampling_fn_seg",
    "resampling_fn_data_kwargs",
    "resampling_fn_seg_kwargs",
)
"""What must agree, beside the spacing, for two configurations to be preprocessed alike."""

# Schemes that look at nothing but the image itself, not at the data set's intensities in the plans.
_PER_IMAGE = {"ZScoreNormalization", "NoNormalization", "RescaleTo01Normalization", "RGBTo01Normalization"}


def share_data(plans: dict[str, Any], stock_file: Path) -> None:
    """Set every configuration's data identifier: that of stock plans where both are preprocessed alike, else an own.

    Args:
        plans: the plans to write; changed in place.
        stock_file: nnUNetPlans.json of the same data set; where it does not exist (yet), 2d and 3d_fullres are taken
            to be what nnU-Net would plan by default, as nnU-Net's own residual-encoder planners do.
    """
    stock = read_plans(stock_file) if stock_file.exists() else None
    for name, configuration in plans["configurations"].items():
        if stock is not None:
            identifier = shared_identifier(plans, name, stock)
        else:
            identifier = f"{stock_file.stem}_{name}" if name in ("2d", "3d_fullres") else None
        configuration["data_identifier"] = identifier or f"{plans['plans_name']}_{name}"


def shared_identifier(plans: Mapping[str, Any], configuration: str, other: Mapping[str, Any]) -> str | None:
    """The data identifier of `other`'s configuration of the same name, if both are preprocessed alike.

    Args:
        plans: plans of the same data set.
        configuration: name of a configuration of `plans`.
        other: plans whose preprocessed data could be used.
    """
    if configuration not in other["configurations"]:
        return None
    here, there = (merged_configuration(p, configuration) for p in (plans, other))
    if "spacing" not in there or not _close(here["spacing"], there["spacing"]):
        return None
    if any(_plain(here[key]) != _plain(there.get(key)) for key in SAME):
        return None
    if list(plans["transpose_forward"]) != list(other["transpose_forward"]):
        return None
    if not set(here["normalization_schemes"]) <= _PER_IMAGE:
        key = "foreground_intensity_properties_per_channel"
        if _plain(plans[key]) != _plain(other.get(key)):
            return None
    return str(there["data_identifier"])


def _close(here: Any, there: Any) -> bool:
    return len(here) == len(there) and bool(np.allclose(here, there, rtol=1e-6))


def _plain(value: Any) -> Any:
    """Tuples as lists and numpy numbers as Python's, as they are once they have been written to JSON."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value
