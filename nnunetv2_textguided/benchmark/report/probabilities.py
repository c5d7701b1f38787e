"""A case's score as a probability of disease: how well it is calibrated, and what a biopsy decided by it is worth."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.evaluation.bootstrap import Interval, interval, means
from nnunetv2_textguided.evaluation.calibration import calibration, cross_fit, net_benefit, over_trainings, reliability
from nnunetv2_textguided.evaluation.difference import Difference
from nnunetv2_textguided.evaluation.metrics import METRICS
from nnunetv2_textguided.evaluation.results import Results
from nnunetv2_textguided.nnunet.variant import Variant

THRESHOLDS = np.arange(5, 41) / 100
"""Probabilities at which a biopsy may be as good as none."""
SCORE, LIKELIHOOD = "score", "likelihood"


@dataclass(frozen=True)
class Probabilities:
    """Of a study.

    Attributes:
        left_out: what is not known, and why.
        positive: (C,) whether the case has a lesion.
        predicted: SCORE (the maximum of the detection map, as it is) or LIKELIHOOD (cross-fitted) -> variant -> (R, C).
        quantities: of these -> name of calibration.QUANTITIES -> over patients and trainings.
        differences: the same to the baseline.
        benefit: variant -> net benefit at each of THRESHOLDS by its likelihood, with the interval over patients.
        everyone: (T,) net benefit of a biopsy for all.
    """

    left_out: tuple[str, ...]
    positive: np.ndarray
    predicted: Mapping[str, Mapping[Variant, np.ndarray]] = field(default_factory=dict)
    quantities: Mapping[tuple[str, Variant], Mapping[str, Difference]] = field(default_factory=dict)
    differences: Mapping[tuple[str, Variant], Mapping[str, Difference]] = field(default_factory=dict)
    benefit: Mapping[Variant, list[tuple[float, Interval]]] = field(default_factory=dict)
    everyone: np.ndarray = field(default_factory=lambda: np.empty(0))


def analyse_probabilities(
    results: Results, baseline: Variant, weights: np.ndarray, names: Mapping[Variant, str], level: float
) -> Probabilities:
    """Calibrate, estimate, compare.

    Args:
        results: the scores.
        baseline: what the others are compared with.
        weights: (B, C) bootstrap replicates.
        names: variant -> short name, for what is left out.
        level: nominal coverage.
    """
    positive = results.lesions > 0
    if len(results.classes) > 1:
        return Probabilities(("several classes are scored; choose one with --label.",), positive)
    if positive.all() or not positive.any():
        return Probabilities((f"{'all cases have' if positive.any() else 'no case has'} a lesion.",), positive)
    predicted, left_out = _predict(results, positive, names)

    def over(own: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> dict[str, Difference]:
        return {name: over_trainings(values, results.folds, results.patients, level, other.get(name))
                for name, values in own.items()}  # fmt: skip

    every = {(of, v): calibration(one, positive) for of, found in predicted.items() for v, one in found.items()}
    return Probabilities(
        left_out,
        positive,
        predicted,
        quantities={key: over(own, {}) for key, own in every.items()},
        differences={
            (of, variant): over(own, every[of, baseline])
            for (of, variant), own in every.items()
            if variant != baseline and (of, baseline) in every
        },
        benefit={variant: _benefit(one, positive, weights, level) for variant, one in predicted[LIKELIHOOD].items()},
        everyone=net_benefit(np.ones((1, positive.size)), positive, THRESHOLDS).mean(axis=(1, 2)),
    )


def _benefit(
    predicted: np.ndarray, positive: np.ndarray, weights: np.ndarray, level: float
) -> list[tuple[float, Interval]]:
    """Net benefit at each threshold, and its interval."""
    cases = net_benefit(predicted, positive, THRESHOLDS).mean(axis=1)
    return [(float(case.mean()), interval(means(case, weights), level)) for case in cases]


def _predict(
    results: Results, positive: np.ndarray, names: Mapping[Variant, str]
) -> tuple[dict[str, dict[Variant, np.ndarray]], tuple[str, ...]]:
    predicted: dict[str, dict[Variant, np.ndarray]] = {SCORE: {}, LIKELIHOOD: {}}
    left_out = []
    for variant, table in results.tables.items():
        if count := results.without_probabilities.get(variant):
            left_out.append(f"{names[variant]}: no probabilities (--npz) of {count} cases.")
            continue
        predicted[SCORE][variant] = np.array([[score.score for score in one] for one in table.lists])
        try:
            predicted[LIKELIHOOD][variant] = cross_fit(predicted[SCORE][variant], positive, results.folds)
        except DataError as error:
            left_out.append(f"likelihood of {names[variant]}: {error.what} {error.remedy}")
    return predicted, tuple(left_out)


def calibration_rows(found: Probabilities) -> Iterator[dict[str, Any]]:
    """A row per variant, kind of probability and quantity, for a file."""
    for (of, variant), quantities in found.quantities.items():
        for name, one in quantities.items():
            ends = {"low": one.ends.low, "high": one.ends.high, "cases": one.cases}
            difference = difference_columns(found.differences.get((of, variant), {}).get(name))
            yield {**variant_columns(variant), "of": of, "quantity": name, "value": one.value, **ends, **difference}


def reliability_rows(found: Probabilities, level: float) -> Iterator[dict[str, Any]]:
    """A row per bin of the reliability plot."""
    for of, predicted in found.predicted.items():
        for variant, one in predicted.items():
            for number, made in enumerate(reliability(one, found.positive, level), 1):
                yield {**variant_columns(variant), "of": of, "bin": number, **vars(made)}


def benefit_rows(found: Probabilities) -> Iterator[dict[str, Any]]:
    """A row per variant and threshold of the decision curve; a biopsy for nobody has the net benefit 0."""
    for variant, values in found.benefit.items():
        for threshold, (value, ends), everyone in zip(THRESHOLDS, values, found.everyone, strict=True):
            yield {**variant_columns(variant), "threshold": threshold, "net_benefit": value, "low": ends.low,
                   "high": ends.high, "biopsy_for_all": everyone}  # fmt: skip


def variant_columns(variant: Variant) -> dict[str, Any]:
    """Which model a row of a file is of."""
    return {"trainer": variant.trainer, "plans": variant.plans, "configuration": variant.configuration}


def difference_columns(found: Difference | None) -> dict[str, float]:
    """A difference to the baseline, over patients and trainings, in a row of a file."""
    low, high = (math.nan, math.nan) if found is None else found.ends
    return {"difference": math.nan if found is None else found.value, "difference_low": low, "difference_high": high}


def calibration_cells(quantities: Mapping[str, Difference]) -> Iterator[tuple[str, str]]:
    """(text, interval) of each quantity, for the page."""
    text = METRICS["dice"].text
    for name, one in quantities.items():
        sign = name not in ("brier", "slope")
        ends = f"[{text(one.ends.low, sign)}, {text(one.ends.high, sign)}]" if math.isfinite(one.ends.low) else ""
        yield text(one.value, sign), ends
