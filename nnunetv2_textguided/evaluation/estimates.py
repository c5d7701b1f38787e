"""Every metric of every variant, with the patient bootstrap's interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnunetv2_textguided.evaluation.bootstrap import Interval, interval, means
from nnunetv2_textguided.evaluation.detection_metrics import Found, detection
from nnunetv2_textguided.evaluation.metrics import DETECTION, OVERLAP
from nnunetv2_textguided.evaluation.results import CaseTable, Results
from nnunetv2_textguided.nnunet.variant import Variant


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
    """

    table: Mapping[Variant, Mapping[str, Estimate]]


def estimate_all(results: Results, weights: np.ndarray, level: float) -> Estimates:
    """Estimate every metric of every variant.

    Args:
        results: the scores.
        weights: (R, C) how often each case counts in each replicate; from `bootstrap.draw`.
        level: nominal coverage.
    """
    return Estimates({variant: estimate(table, weights, level)[0] for variant, table in results.tables.items()})


def estimate(cases: CaseTable, weights: np.ndarray, level: float) -> tuple[dict[str, Estimate], dict[str, np.ndarray]]:
    """Every metric of one model, and the replicates (R,) of its detection metrics; see `estimate_all`."""
    overlap = {m.name: mean_estimate(cases.overlap[m.name], weights, level) for m in OVERLAP}
    point = macro_detection(cases.found(), np.ones((1, weights.shape[1])))
    drawn = macro_detection(cases.found(), weights)
    return overlap | {
        m.name: Estimate(float(point[m.name][0]), interval(drawn[m.name], level), weights.shape[1]) for m in DETECTION
    }, drawn


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
