"""What becomes of differences at fitted thresholds: of every variant to the baseline, of the method to no text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nnunetv2_textguided.benchmark.report.names import Role
from nnunetv2_textguided.benchmark.report.options import ReportOptions
from nnunetv2_textguided.evaluation.difference import Difference
from nnunetv2_textguided.evaluation.metrics import DASH, METRICS
from nnunetv2_textguided.evaluation.results import Results
from nnunetv2_textguided.evaluation.threshold_comparison import (
    ModelAtThresholds,
    ThresholdComparison,
    at_thresholds,
    compare_at_thresholds,
    correct,
)
from nnunetv2_textguided.nnunet.variant import Variant


@dataclass(frozen=True)
class Thresholds:
    """Of a study.

    Attributes:
        models: variant -> at 0.5 and at fitted thresholds.
        comparisons: the others -> against the baseline; one family of Holm's correction.
        no_text: the method against its no-text ablation; None where one is missing.
    """

    models: Mapping[Variant, ModelAtThresholds]
    comparisons: Mapping[Variant, ThresholdComparison]
    no_text: ThresholdComparison | None

    @property
    def without(self) -> tuple[Variant, ...]:
        """Variants that kept no probabilities, or of which a single fold leaves none to fit on."""
        return tuple(variant for variant, model in self.models.items() if not model.known)


def analyse_thresholds(
    results: Results, baseline: Variant, asked: Mapping[Role, tuple[Variant, Variant]], options: ReportOptions
) -> Thresholds:
    """Fit thresholds across folds and compare.

    Args:
        results: the scores.
        baseline: what the others are compared with.
        asked: the verdict's pairs, see `verdict.verdict_pairs`.
        options: of the report.
    """
    empty = options.scoring.empty
    models = {variant: at_thresholds(table.curves, results.folds, options.price, empty)
              for variant, table in results.tables.items()}  # fmt: skip

    def compare(variant: Variant, other: Variant) -> ThresholdComparison:
        same = results.same_networks(variant, other)
        return compare_at_thresholds(models[variant], models[other], results.patients, options.level, same)

    others = [variant for variant in models if variant != baseline]
    compared = correct([compare(variant, baseline) for variant in others])
    pair = asked.get(Role.NO_TEXT)
    return Thresholds(models, dict(zip(others, compared, strict=True)), compare(*pair) if pair else None)


def threshold_notes(thresholds: Thresholds) -> Iterator[str]:
    """What becomes of the method's difference from no text."""
    found = thresholds.no_text
    if found is not None and found.sentence("AlignRefine", "no text"):
        yield found.sentence("AlignRefine", "no text")


def threshold_sentences(thresholds: Thresholds, names: Mapping[Variant, str], baseline: Variant) -> Iterator[str]:
    """What becomes of every difference to the baseline; and which variants it cannot be said of."""
    for variant, found in thresholds.comparisons.items():
        if text := found.sentence(names[variant], names[baseline]):
            yield text
    if thresholds.without:
        listed = ", ".join(names[variant] for variant in thresholds.without)
        yield f"Not known of {listed}: fitted thresholds need probabilities (--npz) of at least two folds."


def threshold_rows(thresholds: Thresholds) -> Iterator[dict[str, Any]]:
    """A row per variant for a file: its thresholds, and its differences to the baseline."""
    for variant, model in thresholds.models.items():
        found = thresholds.comparisons.get(variant)
        row: dict[str, Any] = {"trainer": variant.trainer, "plans": variant.plans}
        row |= {"configuration": variant.configuration, "thresholds": _by_fold(model)}
        row |= {"false_ml": model.false_ml, "false_ml_fitted": model.false_ml_fitted}
        for name in ("half", "fitted", "change", "precision"):
            one: Difference | None = getattr(found, name, None)
            row[f"{name}_difference"] = math.nan if one is None else one.value
            row |= {f"{name}_low": math.nan if one is None else one.ends.low,
                    f"{name}_high": math.nan if one is None else one.ends.high}  # fmt: skip
        row |= {
            "half_p_holm": getattr(found, "p_half", math.nan),
            "fitted_p_holm": getattr(found, "p_fitted", math.nan),
        }
        yield row | {"finding": "" if found is None else found.finding.value}


def threshold_cells(thresholds: Thresholds, variant: Variant) -> list[tuple[str, str]]:
    """(text, what is written below it) of a variant's row on the page."""
    model, found = thresholds.models[variant], thresholds.comparisons.get(variant)
    if not model.known:
        return [(DASH, "")] * 7
    dice = METRICS["dice"]
    cells = [(_by_fold(model), "")]
    cells += [
        (f"{value:.2f}" if math.isfinite(value) else DASH, "") for value in (model.false_ml, model.false_ml_fitted)
    ]
    if found is None:
        return [*cells, *[(DASH, "")] * 4]
    for one in (found.half, found.fitted, found.change, found.precision):
        ends = f"[{dice.text(one.ends.low, sign=True)}, {dice.text(one.ends.high, sign=True)}]"
        cells.append((dice.text(one.value, sign=True), ends if math.isfinite(one.ends.low) else ""))
    return cells


def _by_fold(model: ModelAtThresholds) -> str:
    return " ".join("/".join(f"{t:g}" for t in by_class) or DASH for by_class in model.thresholds.values())
