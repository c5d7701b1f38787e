"""Post-processing of masks, the same for every model that is compared."""

from __future__ import annotations

import numpy as np

from nnunetv2_textguided.evaluation.options import Scoring
from nnunetv2_textguided.extras import require


def postprocess(mask: np.ndarray, scoring: Scoring) -> np.ndarray:
    """Remove what is too small, then all but the largest (26-connected) component, as far as `scoring` says so.

    Args:
        mask: Boolean (z, y, x).
        scoring: the choices.
    """
    if not (scoring.min_voxels or scoring.largest_only) or not mask.any():
        return mask
    components = require("cc3d").connected_components(np.ascontiguousarray(mask), connectivity=26)
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    keep = sizes >= max(scoring.min_voxels, 1)
    if scoring.largest_only and keep.any():
        keep = np.arange(sizes.size) == int(np.argmax(sizes * keep))
    return keep[components]
