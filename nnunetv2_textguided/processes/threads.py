"""OMP_NUM_THREADS on a CPU: `nnUNetv2_train` asks for all processors, whatever it says (nnunetv2/run/run_training.py).

Several trainings on one machine then wait for each other's threads: two on two cores took a quarter longer.
"""

from __future__ import annotations

import os

import torch


def keep_thread_limit(device: torch.device) -> None:
    """Use no more threads than OMP_NUM_THREADS says, if it does, where the training is on the CPU."""
    limit = os.environ.get("OMP_NUM_THREADS", "")
    if device.type == "cpu" and limit.isdecimal() and int(limit) > 0:
        torch.set_num_threads(min(int(limit), torch.get_num_threads()))
