"""Two variants on the same folds and cases: difference, interval over patients and trainings, test, effect size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nnunetv2_textguided.evaluation.detection_metrics import Found
from nnunetv2_textguided.evaluation.difference import Difference
from nnunetv2_textguided.evaluation.estimates import macro_detection
from nnunetv2_textguided.evaluation.metrics import METRICS
from nnunetv2_textguided.evaluation.results import CaseTable, Results
from nnunetv2_textguided.evaluation.statistics.effect import Effect, effect_size
from nnunetv2_textguided.evaluation.statistics.holm import holm
from nnunetv2_textguided.evaluation.statistics.pairs import pair
from nnunetv2_textguided.evaluation.trainings import Statistic, folds_of_means, folds_of_statistics
from nnunetv2_textguided.nnunet.variant import Variant


@dataclass(frozen=True)
class Comparison:
    """A variant against a baseline in one metric.

    Attributes:
        variant, baseline, metric: what is compared.
        found: the difference, variant minus baseline, with its uncertainty over patients and trainings.
        p_holm: its p value after Holm's correction in the family that `compare_all` was given.
        effect: effect sizes over patients; for per-case metrics only.
    """

    variant: Variant
    baseline: Variant
    metric: str
    found: Difference
    p_holm: float = math.nan
    effect: Effect | None = None

    def significant(self, level: float) -> bool:
        """Whether a difference is shown: the interval excludes 0, after Holm's correction, too."""
        return bool(self.p_holm < 1 - level + 1e-12)

    @property
    def gain(self) -> float:
        """The difference, positive where the variant is better."""
        return METRICS[self.metric].gain(self.found.value)


def compare_all(
    pairs: Sequence[tuple[Variant, Variant]], metric: str, results: Results, level: float
) -> list[Comparison]:
    """Compare pairs of (variant, baseline); they are one family for Holm's correction.

    Args:
        pairs: what is compared with what.
        metric: its name.
        results: the scores.
        level: nominal coverage of the intervals.
    """
    compare = _compare_means if METRICS[metric].per_case else _compare_detection
    made = [compare(variant, baseline, metric, results, level) for variant, baseline in pairs]
    corrected = holm([comparison.found.p for comparison in made])
    return [replace(comparison, p_holm=p) for comparison, p in zip(made, corrected, strict=True)]


def _compare_means(variant: Variant, baseline: Variant, metric: str, results: Results, level: float) -> Comparison:
    ours, theirs = (results.tables[v].overlap_of_repeats[metric] for v in (variant, baseline))
    same = results.same_networks(variant, baseline)
    found = Difference(tuple(folds_of_means(ours, theirs, results.folds, results.patients, same)), level)
    means = results.overlap[metric]
    paired = pair(means[variant], means[baseline], results.patients)
    return Comparison(variant, baseline, metric, found, effect=effect_size(paired.patient_means))


def _compare_detection(variant: Variant, baseline: Variant, metric: str, results: Results, level: float) -> Comparison:
    ours, theirs = (_statistics(results.tables[v], metric) for v in (variant, baseline))
    same = results.same_networks(variant, baseline)
    found = Difference(tuple(folds_of_statistics(ours, theirs, results.folds, results.patients, same)), level)
    return Comparison(variant, baseline, metric, found)


def _statistics(table: CaseTable, metric: str) -> list[Statistic]:
    """A detection metric of each repeat, the mean over classes."""
    found, classes = table.found(), len(table.classes)
    return [_statistic(found[i : i + classes], metric) for i in range(0, len(found), classes)]


def _statistic(by_class: Sequence[Found], metric: str) -> Statistic:
    def statistic(cases: np.ndarray, weights: np.ndarray) -> np.ndarray:
        chosen = [Found(tuple(f.candidates[i] for i in cases), f.scores[cases]) for f in by_class]
        return macro_detection(chosen, weights, [metric])[metric]

    return statistic
