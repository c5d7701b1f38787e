"""The report's tables as pandas data frames: what becomes CSV files, and rows of JSON."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from nnunetv2_textguided.benchmark.report.analysis import Analysis
from nnunetv2_textguided.benchmark.report.costs import COLUMNS
from nnunetv2_textguided.benchmark.report.probabilities import (
    benefit_rows,
    calibration_rows,
    difference_columns,
    reliability_rows,
    variant_columns,
)
from nnunetv2_textguided.benchmark.report.thresholds import threshold_rows
from nnunetv2_textguided.evaluation.comparison import Comparison
from nnunetv2_textguided.evaluation.estimates import Estimate

if TYPE_CHECKING:
    from pandas import DataFrame


def all_tables(analysis: Analysis) -> dict[str, DataFrame]:
    """File name without suffix -> table."""
    from pandas import DataFrame

    rows = {
        "per_case": _per_case(analysis),
        "per_lesion": _per_lesion(analysis),
        "summary": _summary(analysis),
        "comparisons": _comparisons(analysis),
        "verdict": (_comparison(analysis, c) for c in analysis.verdict.comparisons.values()),
        "thresholds": threshold_rows(analysis.thresholds),
        "subgroups": _subgroups(analysis),
        "calibration": calibration_rows(analysis.probabilities),
        "reliability": reliability_rows(analysis.probabilities, analysis.options.level),
        "decision_curve": benefit_rows(analysis.probabilities),
        "costs": _costs(analysis),
    }
    return {name: DataFrame(list(content)) for name, content in rows.items()}


def _per_case(analysis: Analysis) -> Iterator[dict[str, Any]]:
    for variant, table in analysis.results.tables.items():
        yield from ({**variant_columns(variant), **row} for row in table.rows())


def _per_lesion(analysis: Analysis) -> Iterator[dict[str, Any]]:
    for variant, table in analysis.results.tables.items():
        trainings = itertools.product(table.repeats, table.classes)
        for (repeat, name), scores in zip(trainings, table.lists, strict=True):
            for info, fold, score in zip(table.infos, table.folds.tolist(), scores, strict=True):
                for number, lesion in enumerate(score.lesions, 1):
                    place = {"fold": fold, "repeat": repeat, "case": info.case, "class": name}
                    yield {**variant_columns(variant), **place, "lesion": number, **vars(lesion)}


def _summary(analysis: Analysis) -> Iterator[dict[str, Any]]:
    for variant, estimates in analysis.estimates.table.items():
        for name, estimate in estimates.items():
            yield {**variant_columns(variant), "metric": name, **_estimate(estimate)}


def _estimate(estimate: Estimate) -> dict[str, Any]:
    ends = estimate.interval
    return {"value": estimate.value, "low": ends.low, "high": ends.high, "cases": estimate.cases}


def _comparisons(analysis: Analysis) -> Iterator[dict[str, Any]]:
    for comparisons in analysis.comparisons.values():
        yield from (_comparison(analysis, comparison) for comparison in comparisons)


def _comparison(analysis: Analysis, c: Comparison) -> dict[str, Any]:
    effect = c.effect
    return {
        **variant_columns(c.variant),
        "baseline": c.baseline.name,
        "metric": c.metric,
        "difference": c.found.value,
        "low": c.found.ends.low,
        "high": c.found.ends.high,
        "cases": c.found.cases,
        "patients": c.found.patients,
        "p": c.found.p,
        "p_holm": c.p_holm,
        "low_over_patients": c.found.ends_over_patients.low,
        "high_over_patients": c.found.ends_over_patients.high,
        "trainings": c.found.trainings[0],
        "baseline_trainings": c.found.trainings[1],
        "by_fold": " ".join(f"{difference:+.4g}" for difference in c.found.by_fold),
        "d_z": None if effect is None else effect.standardised,
        "rank_biserial": None if effect is None else effect.rank_biserial,
        "patients_higher": None if effect is None else effect.higher,
        "patients_equal": None if effect is None else effect.equal,
        "patients_lower": None if effect is None else effect.lower,
        "significant": c.significant(analysis.options.level),
    }


def _subgroups(analysis: Analysis) -> Iterator[dict[str, Any]]:
    for stratum in analysis.strata:
        for variant, estimates in stratum.table.items():
            for name, estimate in estimates.items():
                group = {"by": stratum.by, "group": stratum.name, "group_cases": int(stratum.cases.sum())}
                difference = difference_columns(stratum.differences.get(variant, {}).get(name))
                yield {**variant_columns(variant), **group, "metric": name, **_estimate(estimate), **difference}


def _costs(analysis: Analysis) -> Iterator[dict[str, Any]]:
    for variant, costs in analysis.costs.items():
        length = {"epochs": costs.epochs, "iterations_per_epoch": costs.iterations}
        yield {**variant_columns(variant), **length, **{column.key: costs.values[column.key] for column in COLUMNS}}
