"""The small configuration that the demo adds to nnU-Net's plans: its own 3d_fullres plan, narrower and shorter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunetv2_textguided.demo.workspace import CONFIGURATION
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.files import read_json, write_json
from nnunetv2_textguided.settings import BLOCK


@dataclass(frozen=True)
class Size:
    """How much the demo does."""

    training_cases: int
    test_cases: int
    features: int
    """Features of the first stage; they double with every stage up to `max_features`."""
    max_features: int
    block: dict[str, Any]
    """The `text_guidance` block."""


def add_configuration(plans_file: Path, size: Size) -> None:
    """Add the configuration to a plans file. One of a name of its own survives when the data set is planned again.

    Raises:
        DataError: nnU-Net planned no 3d_fullres configuration.
    """
    plans = read_json(plans_file, error=DataError)
    if "3d_fullres" not in plans.get("configurations", {}):
        raise DataError("nnU-Net planned no 3d_fullres configuration.", where=plans_file)
    architecture = plans["configurations"]["3d_fullres"]["architecture"]
    stages = architecture["arch_kwargs"]["n_stages"]
    features = [min(size.features * 2**stage, size.max_features) for stage in range(stages)]
    plans["configurations"][CONFIGURATION] = {
        "inherits_from": "3d_fullres",
        # nnU-Net replaces nested blocks whole, so the architecture has to be repeated.
        "architecture": {
            **architecture,
            "arch_kwargs": {**architecture["arch_kwargs"], "features_per_stage": features},
        },
        # Dice over both patches of a batch: a patch without a lesion has no Dice of its own to learn from.
        "batch_dice": True,
        BLOCK: size.block,
    }
    write_json(plans_file, plans)
