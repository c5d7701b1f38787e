"""nnU-Net's export of a prediction."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.inference.export_prediction import export_prediction_from_logits

from nnunetv2_textguided.nnunet.plans import ConfigurationManager, PlansManager


def write_mask(
    logits: np.ndarray,
    properties: dict[str, Any],
    configuration: ConfigurationManager,
    plans: PlansManager,
    dataset_json: Mapping[str, Any],
    target: Path,
    probabilities: bool,
) -> None:
    """Resample (heads, *network grid) logits to the case's grid and write the mask.

    Args:
        logits: of one case.
        properties: what nnU-Net's preprocessing said about it.
        configuration: the model's.
        plans: the model's.
        dataset_json: the model's.
        target: the mask's path without file ending.
        probabilities: write them, too.
    """
    export_prediction_from_logits(
        logits, properties, configuration, plans, dict(dataset_json), str(target), probabilities, num_threads_torch=1
    )
