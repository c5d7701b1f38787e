"""Lesion extraction from maps with very many blobs, where report_guided_annotation would take hours.

Its "dynamic" extraction passes over the whole volume several times for each blob above the threshold. That is nothing
for a trained network's map, but the map of a hardly trained one has a thousand blobs, and PI-CAI's largest volumes have
28 million voxels. This is the same procedure with one pass per step: in each step it takes the blob with the highest
maximum, so only that blob is needed. Tests compare both voxel for voxel; `detection` uses this one only where the map
is crowded.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

# Defaults of report_guided_annotation.extract_lesion_candidates.
MIN_VOXELS, NUM_LESIONS, FACTOR, STOP = 10, 5, 2.5, 0.01
_NEIGHBOURS = np.ones((3, 3, 3))
# Blobs times voxels from which on the library takes more than a few seconds.
CROWDED = 2e8


def is_crowded(probability: np.ndarray) -> bool:
    """Whether the library would have to pass over too many voxels for the blobs of its first step alone."""
    _, blobs = ndimage.label(probability >= probability.max() / FACTOR, structure=_NEIGHBOURS)
    return blobs * probability.size > CROWDED


def extract_crowded(probability: np.ndarray) -> np.ndarray:
    """The detection map of `extract_lesion_candidates(probability, threshold="dynamic")`.

    Args:
        probability: float32 (z, y, x).
    """
    working = probability.copy()
    detection = np.zeros_like(probability)
    found = 0
    while found < NUM_LESIONS and (highest := working.max()) >= STOP:
        labels, number = ndimage.label(working >= highest / FACTOR, structure=_NEIGHBOURS)
        sizes = np.bincount(labels.ravel(), minlength=number + 1)[1:]
        maxima = np.where(sizes > MIN_VOXELS, ndimage.maximum(working, labels, np.arange(1, number + 1)), 0)
        if not maxima.any():
            break  # the library then removes everything at once
        blob = labels == 1 + int(np.argmax(maxima))  # of equal maxima the first, in the order of scipy's labels
        if not (ndimage.binary_dilation(detection > 0, _NEIGHBOURS) & blob).any():
            detection[blob] = maxima.max()
            found += 1
        working[blob] = 0
    return detection
