"""Numbers that are logged: means over iterations and ranks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch import distributed as dist

from nnunetv2_textguided.training.step import StepTerms


def mean_over_ranks(values: np.ndarray, distributed: bool) -> list[float]:
    """Column means over the rows of all ranks, NaN entries left out; NaN where nothing is left.

    Args:
        values: (iterations, quantities) of this rank.
        distributed: whether there are other ranks.
    """
    if distributed:
        gathered: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(gathered, values)
        values = np.concatenate(gathered)
    known = ~np.isnan(values)
    total = np.where(known, values, 0).sum(axis=0, dtype=np.float64)
    return [float(t / n) if n else float("nan") for t, n in zip(total, known.sum(axis=0), strict=True)]


def means_of_steps(outputs: list[dict[str, Any]], distributed: bool) -> dict[str, float]:
    """Means of StepTerms over an epoch's training steps and all ranks, by name."""
    terms = mean_over_ranks(np.stack([output["terms"] for output in outputs]), distributed)
    return dict(zip(StepTerms._fields, terms, strict=True))


def sum_over_ranks(values: Tensor, distributed: bool) -> Tensor:
    """The sum of a tensor over all ranks, in place."""
    if distributed:
        dist.all_reduce(values)
    return values


def on_any_rank(flag: bool, distributed: bool, device: torch.device) -> bool:
    """Whether `flag` is set on any rank: ranks have to stop together, or the others wait for ever."""
    if not distributed:
        return flag
    shared = torch.tensor(float(flag), device=device)
    dist.all_reduce(shared, op=dist.ReduceOp.MAX)
    return bool(shared.item())
