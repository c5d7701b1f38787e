"""What the training images are like, kept in the model folder and in the last checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnunetv2_textguided.files import write_json
from nnunetv2_textguided.imaging.intensities import FILE, LEVELS, RANGE, percentiles

MOST_CASES = 200
"""Cases that are looked at, evenly spread: reading them takes about as long as an epoch."""


def write_training_intensities(dataset: Any, folder: str | Path) -> dict[str, Any]:
    """Write the range of each channel's percentiles over the preprocessed training cases.

    Args:
        dataset: nnU-Net's data set of the fold's training cases.
        folder: the fold's output folder.

    Returns:
        What was written.
    """
    cases: Sequence[str] = sorted(dataset.identifiers)
    chosen = cases[:: -(-len(cases) // MOST_CASES)]
    found = np.stack([percentiles(np.asarray(dataset.load_case(case)[0][:])) for case in chosen])
    ranges = np.moveaxis(np.quantile(found, RANGE, axis=0), 0, -1)
    content = {"levels": list(LEVELS), "cases": len(chosen), "ranges": ranges.tolist()}
    write_json(Path(folder) / FILE, content)
    return content
