"""Every metric of every variant, with the patient bootstrap's interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from nnunetv2_textguided.benchmark.study import Variant
from nnunetv2_textguided.evaluation.bootstrap import Interval, interval, means
from nnunetv2_textguided.evaluation.metrics import DETECTION, OVERLAP
from nnunetv2_textguided.evaluation.results import Results
from nnunetv2_textguided.evaluation.statistics.detection_weightings import Found, detection

# The bootstrap's replicates of one number, (R,).
Replicates: TypeAlias = np.ndarray


@dataclass(frozen=True)
class Estimate:
    """A number, its interval, and on how many cases it rests."""

    value: float
    interval: Interval
    cases: int


@dataclass(frozen=True)
class Estimates:
    """Of all variants.

    Attributes:
        table: variant -> metric -> estimate.
        replicates: variant -> detection metric -> (R,), drawn with the same patients for every variant.
    """

    table: Mapping[Variant, Mapping[str, Estimate]]
    replicates: Mapping[Variant, Mapping[str, Replicates]]


def estimate_all(results: Results, weights: np.ndarray, level: float) -> Estimates:
    """Estimate every metric of every variant.

    Args:
        results: the scores.
        weights: (R, C) how often each case counts in each replicate; from `picai.bootstrap.draw`.
        level: nominal coverage.
    """
    table: dict[Variant, dict[str, Estimate]] = {}
    drawn: dict[Variant, dict[str, Replicates]] = {}
    for variant in results.variants:
        overlap = {m.name: mean_estimate(results.overlap[m.name][variant], weights, level) for m in OVERLAP}
        found = results.found(variant)
        point = macro_detection(found, np.ones((1, weights.shape[1])))
        drawn[variant] = macro_detection(found, weights)
        table[variant] = overlap | {
            m.name: Estimate(float(point[m.name][0]), interval(drawn[variant][m.name], level), weights.shape[1])
            for m in DETECTION
        }
    return Estimates(table, drawn)


def mean_estimate(values: np.ndarray, weights: np.ndarray, level: float) -> Estimate:
    """The mean of the cases (C,) that count, under replicates (R, C)."""
    counting = values[np.isfinite(values)]
    mean = float(counting.mean()) if counting.size else math.nan
    return Estimate(mean, interval(means(values, weights), level), int(counting.size))


def macro_detection(
    found: Sequence[Found], weights: np.ndarray, metrics: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """Detection metrics, the mean over classes: metric -> (R,)."""
    per_class = [detection(one, weights, metrics) for one in found]
    return {name: np.mean([values[name] for values in per_class], axis=0) for name in per_class[0]}
