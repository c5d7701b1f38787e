"""Two variants on the same cases: difference, interval, tests, effect size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nnunetv2_textguided.evaluation.bootstrap import Interval, interval, means
from nnunetv2_textguided.evaluation.estimates import Estimates, macro_detection
from nnunetv2_textguided.evaluation.metrics import METRICS
from nnunetv2_textguided.evaluation.options import Resampling
from nnunetv2_textguided.evaluation.results import Results
from nnunetv2_textguided.evaluation.statistics.effect import Effect, effect_size
from nnunetv2_textguided.evaluation.statistics.holm import holm
from nnunetv2_textguided.evaluation.statistics.pairs import pair
from nnunetv2_textguided.evaluation.statistics.permutation import Statistic, mean_difference, permutation_test
from nnunetv2_textguided.evaluation.statistics.wilcoxon import wilcoxon_test
from nnunetv2_textguided.nnunet.variant import Variant


@dataclass(frozen=True)
class Comparison:
    """A variant against a baseline in one metric.

    Attributes:
        variant, baseline, metric: what is compared.
        difference: variant minus baseline, over the cases that count for both.
        interval: its bootstrap interval over patients.
        cases, patients: on which it rests.
        p_permutation, p_wilcoxon: uncorrected. Wilcoxon's test and effect sizes exist for per-case metrics only.
        p_holm, p_wilcoxon_holm: after Holm's correction in the family that `compare_all` was given.
        effect: effect sizes over patients.
    """

    variant: Variant
    baseline: Variant
    metric: str
    difference: float
    interval: Interval
    cases: int
    patients: int
    p_permutation: float
    p_wilcoxon: float = math.nan
    p_holm: float = math.nan
    p_wilcoxon_holm: float = math.nan
    effect: Effect | None = None

    def significant(self, level: float) -> bool:
        """Whether the interval excludes 0 and the corrected permutation test agrees."""
        excludes = self.interval.low > 0 or self.interval.high < 0
        return bool(excludes and self.p_holm < 1 - level + 1e-12)

    @property
    def gain(self) -> float:
        """The difference, positive where the variant is better."""
        return METRICS[self.metric].gain(self.difference)


def compare_all(
    pairs: Sequence[tuple[Variant, Variant]],
    metric: str,
    results: Results,
    estimates: Estimates,
    weights: np.ndarray,
    options: Resampling,
) -> list[Comparison]:
    """Compare pairs of (variant, baseline); they are one family for Holm's correction.

    Args:
        pairs: what is compared with what.
        metric: its name.
        results, estimates, weights: from the same replicates (R, C).
        options: resamples, seed, level.
    """
    one = _compare_means if METRICS[metric].per_case else _compare_detection
    made = [one(variant, baseline, metric, results, estimates, weights, options) for variant, baseline in pairs]
    permutation = holm([c.p_permutation for c in made])
    wilcoxon = holm([c.p_wilcoxon for c in made])
    return [
        replace(comparison, p_holm=p, p_wilcoxon_holm=w)
        for comparison, p, w in zip(made, permutation, wilcoxon, strict=True)
    ]


def _compare_means(
    variant: Variant,
    baseline: Variant,
    metric: str,
    results: Results,
    estimates: Estimates,
    weights: np.ndarray,
    options: Resampling,
) -> Comparison:
    values, other = (results.overlap[metric][v] for v in (variant, baseline))
    paired = pair(values, other, results.patients)
    cases = int(paired.differences.size)
    return Comparison(
        variant,
        baseline,
        metric,
        difference=float(paired.differences.mean()) if cases else math.nan,
        interval=interval(means(values - other, weights), options.level),
        cases=cases,
        patients=paired.patients,
        p_permutation=permutation_test(
            mean_difference(paired.sums, cases), paired.patients, options.resamples, options.seed
        ),
        p_wilcoxon=wilcoxon_test(paired.patient_means),
        effect=effect_size(paired.patient_means),
    )


def _compare_detection(
    variant: Variant,
    baseline: Variant,
    metric: str,
    results: Results,
    estimates: Estimates,
    weights: np.ndarray,
    options: Resampling,
) -> Comparison:
    replicates = estimates.replicates[variant][metric] - estimates.replicates[baseline][metric]
    _, owner = np.unique(np.asarray(results.patients, dtype=str), return_inverse=True)
    patients = int(owner.max()) + 1
    return Comparison(
        variant,
        baseline,
        metric,
        difference=estimates.table[variant][metric].value - estimates.table[baseline][metric].value,
        interval=interval(replicates, options.level),
        cases=len(results.cases),
        patients=patients,
        p_permutation=permutation_test(
            _exchanged(variant, baseline, metric, results, owner), patients, options.resamples, options.seed
        ),
    )


def _exchanged(variant: Variant, baseline: Variant, metric: str, results: Results, owner: np.ndarray) -> Statistic:
    """The difference of a detection metric as a statistic of signs (R, P): -1 exchanges a patient's results."""
    both = [a.with_cases_of(b) for a, b in zip(results.found(variant), results.found(baseline), strict=True)]

    def statistic(signs: np.ndarray) -> np.ndarray:
        kept = (np.asarray(signs) > 0)[:, owner].astype(np.int32)
        ours = macro_detection(both, np.concatenate((kept, 1 - kept), axis=1), [metric])[metric]
        theirs = macro_detection(both, np.concatenate((1 - kept, kept), axis=1), [metric])[metric]
        return ours - theirs

    return statistic
