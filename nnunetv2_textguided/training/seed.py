"""The seed of a training: set where a setting says so, and in any case logged.

It decides initial weights, dropout, and whatever else the training process draws. nnU-Net's background processes that
draw and augment patches seed themselves, so two trainings of one seed still differ.
"""

from __future__ import annotations

import random

import numpy as np
import torch

from nnunetv2_textguided.nnunet.training_log import SEED_NOTE


def set_seed(seed: int, rank: int = 0) -> None:
    """Seed Python, NumPy and torch (all devices) of this process.

    Args:
        seed: at least 0 and below 2 ** 32.
        rank: of this process among those that train together; they start from the same weights and draw differently.
    """
    random.seed(seed + rank)
    np.random.seed((seed + rank) % 2**32)  # noqa: NPY002  (what batchgenerators draws from)
    torch.manual_seed(seed)


def describe_seed() -> str:
    """The line for the log: torch's seed, which `torch.manual_seed` takes, whether it was set or drawn by torch."""
    return f"{SEED_NOTE} {torch.initial_seed()}"
