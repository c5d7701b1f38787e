"""Augmentation of images whose text names directions."""

from __future__ import annotations

import math

MAX_ROTATION = math.radians(30)
"""nnU-Net's own limit for patches that are not much thinner than wide: left stays left."""


def with_directions(rotation: tuple[float, float]) -> tuple[tuple[float, float], None]:
    """The range of rotations, rad, and the mirrored axes of a training whose phrases name sides and directions.

    Phrases name left and right, anterior and posterior, apex and base, so a mirrored image along any axis contradicts
    them, and nothing in the image says that it is mirrored. nnU-Net turns thin patches by up to 180 degrees in-plane,
    which exchanges left with right, too. Sectors are turned with the image: up to 30 degrees the words remain true.

    Args:
        rotation: nnU-Net's range.

    Returns:
        The range, and None: no axis is mirrored, in training or in prediction.
    """
    low, high = rotation
    return (max(low, -MAX_ROTATION), min(high, MAX_ROTATION)), None
