"""The report's page: one HTML file that needs no network, no server and no other file."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunetv2_textguided import __version__
from nnunetv2_textguided.benchmark.report.analysis import Analysis
from nnunetv2_textguided.benchmark.report.costs import COLUMNS, cost_text
from nnunetv2_textguided.benchmark.report.figures.colours import colours
from nnunetv2_textguided.benchmark.report.methods import methods
from nnunetv2_textguided.benchmark.report.pictures import draw_cases
from nnunetv2_textguided.benchmark.report.probabilities import calibration_cells
from nnunetv2_textguided.benchmark.report.thresholds import threshold_cells, threshold_sentences
from nnunetv2_textguided.benchmark.report.verdict import Outcome
from nnunetv2_textguided.evaluation.bootstrap import Interval
from nnunetv2_textguided.evaluation.calibration import QUANTITIES
from nnunetv2_textguided.evaluation.comparison import Comparison
from nnunetv2_textguided.evaluation.difference import Ends
from nnunetv2_textguided.evaluation.metrics import DASH, METRICS, Metric
from nnunetv2_textguided.evaluation.strata import FOUND
from nnunetv2_textguided.nnunet.variant import Variant
from nnunetv2_textguided.pages.render import render
from nnunetv2_textguided.software import software_versions

TEMPLATE = Path(__file__).with_name("page.html.j2")
_ANSWERS = {
    Outcome.HELPED: ("Yes", "good"),
    Outcome.PARTLY: ("Not settled", "open"),
    Outcome.GUIDANCE_ONLY: ("No", "bad"),
    Outcome.NO_EVIDENCE: ("No evidence", "bad"),
    Outcome.HARMED: ("It did harm", "bad"),
    Outcome.UNKNOWN: ("Cannot be said", "open"),
}
LIBRARIES = ("nnunetv2", "picai_eval", "report_guided_annotation", "scipy", "pandas", "numpy")


def render_page(analysis: Analysis, figures: Mapping[str, tuple[str, str]], files: list[str], command: str) -> str:
    """The page.

    Args:
        analysis: what it says.
        figures: name -> (SVG element, how to read it).
        files: names of the files beside the page.
        command: that made it.
    """
    from markupsafe import Markup

    return render(
        TEMPLATE,
        **_results_of(analysis),
        **_parts_of(analysis),
        figures={name: (Markup(svg), reading) for name, (svg, reading) in figures.items()},
        files=files,
        command=command,
        versions=", ".join(f"{name} {version}" for name, version in software_versions(LIBRARIES).items()),
        version=__version__,
        date=datetime.date.today().isoformat(),
    )


def _results_of(analysis: Analysis) -> dict[str, Any]:
    """What the page's first part shows: the answer, the table of results, the comparisons."""
    answer, tone = _ANSWERS[analysis.verdict.outcome]
    return {
        "study": analysis.study,
        "results": analysis.results,
        "scored": analysis.scored,
        "answer": answer,
        "tone": tone,
        "verdict": analysis.verdict.sentence,
        "notes": analysis.verdict.notes,
        "variants": analysis.results.variants,
        "names": analysis.names,
        "colours": colours(analysis.results.variants, analysis.baseline),
        "baseline": analysis.baseline,
        "headline": analysis.headline,
        "primary": analysis.primary,
        "key_figures": _key_figures(analysis),
        "metrics": [m for m in METRICS.values() if _any_defined(analysis, m)],
        "cell": lambda variant, metric: _cell(analysis, variant, metric),
        "comparisons": [_comparison_row(analysis, c) for family in analysis.comparisons.values() for c in family],
        "level": f"{analysis.options.level:.0%}",
    }


def _parts_of(analysis: Analysis) -> dict[str, Any]:
    """What the page shows below: thresholds, probabilities, subgroups, costs, cases, checks and methods."""
    return {
        "threshold_cells": lambda variant: threshold_cells(analysis.thresholds, variant),
        "threshold_sentences": list(threshold_sentences(analysis.thresholds, analysis.names, analysis.baseline)),
        "price": f"{analysis.options.price:g}",
        "probabilities": analysis.probabilities,
        "quantity_titles": list(QUANTITIES.values()),
        "calibration_cells": calibration_cells,
        "subgroups": _subgroup_rows(analysis),
        "shown_in_subgroups": _shown_in_subgroups(analysis),
        "cost_columns": [c for c in COLUMNS if any(math.isfinite(k.values[c.key]) for k in analysis.costs.values())],
        "costs": analysis.costs,
        "cost_text": cost_text,
        "cases": list(draw_cases(analysis)),
        "checks": analysis.checks,
        "methods": list(methods(analysis)),
    }


def _any_defined(analysis: Analysis, metric: Metric) -> bool:
    return any(math.isfinite(estimates[metric.name].value) for estimates in analysis.estimates.table.values())


def _key_figures(analysis: Analysis) -> list[tuple[str, str]]:
    """(number, what it is) of the headline variant."""
    headline, names = analysis.headline, analysis.names
    estimates = analysis.estimates.table[headline]
    figures = []
    for name in dict.fromkeys((analysis.options.primary, "nsd_1mm", "auroc", "ap")):
        if math.isfinite(estimates[name].value):
            figures.append((METRICS[name].text(estimates[name].value), f"{METRICS[name].title}, {names[headline]}"))
    found = [c for c in analysis.comparisons.get(analysis.options.primary, []) if c.variant == headline]
    if found:
        difference = analysis.primary.text(found[0].found.value, sign=True)
        figures.insert(1, (difference, f"{analysis.primary.title} against {names[analysis.baseline]}"))
    results = analysis.results
    patients, positive = len(set(results.patients)), int((results.lesions > 0).sum())
    what = f"cases of {patients} patients, {positive} with {' or '.join(results.classes)}"
    return [*figures, (str(len(results.cases)), what)]


def _cell(analysis: Analysis, variant: Variant, metric: Metric) -> dict[str, Any]:
    """One cell of the table of results."""
    estimate = analysis.estimates.table[variant][metric.name]
    values = [round(e[metric.name].value, metric.digits) for e in analysis.estimates.table.values()]
    finite = [value for value in values if math.isfinite(value)]
    best = (max if metric.higher_is_better else min)(finite) if finite else math.nan
    comparisons = analysis.comparisons.get(metric.name, [])
    differs = any(c.variant == variant and c.significant(analysis.options.level) for c in comparisons)
    return {
        "value": metric.text(estimate.value),
        "interval": _ends(metric, estimate.interval),
        "best": len(values) > 1 and round(estimate.value, metric.digits) == best,
        "differs": differs,
        "cases": estimate.cases,
        "uneven": len({e[metric.name].cases for e in analysis.estimates.table.values()}) > 1,
    }


def _ends(metric: Metric, interval: Interval | Ends, sign: bool = False) -> str:
    low, high = interval.low, interval.high
    return f"[{metric.text(low, sign)}, {metric.text(high, sign)}]" if math.isfinite(low) else ""


def _comparison_row(analysis: Analysis, c: Comparison) -> dict[str, Any]:
    metric, effect = METRICS[c.metric], c.effect
    return {
        "primary": c.metric == analysis.options.primary,
        "variant": c.variant,
        "metric": metric.title,
        "difference": metric.text(c.found.value, sign=True),
        "interval": _ends(metric, c.found.ends, sign=True),
        "over_patients": _ends(metric, c.found.ends_over_patients, sign=True),
        "by_fold": " ".join(metric.text(d, sign=True) for d in c.found.by_fold),
        "cases": c.found.cases,
        "p": _p(c.found.p),
        "p_holm": _p(c.p_holm),
        "d_z": METRICS["dice"].text(effect.standardised, sign=True) if effect else DASH,
        "rank_biserial": METRICS["dice"].text(effect.rank_biserial, sign=True) if effect else DASH,
        "patients": f"{effect.higher} / {effect.equal} / {effect.lower}" if effect else DASH,
        "tone": ("good" if c.gain > 0 else "bad") if c.significant(analysis.options.level) else "",
    }


def _p(value: float) -> str:
    if not math.isfinite(value):
        return DASH
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}" if value < 0.01 else f"{value:.3f}"


def _shown_in_subgroups(analysis: Analysis) -> list[Variant]:
    return list(dict.fromkeys((analysis.baseline, analysis.headline)))


def _subgroup_rows(analysis: Analysis) -> list[dict[str, Any]]:
    rows = []
    for stratum in analysis.strata:
        cells = []
        if analysis.headline in stratum.differences:
            metric = analysis.primary
            difference = stratum.differences[analysis.headline][metric.name]
            cells.append((metric.text(difference.value, sign=True), _ends(metric, difference.ends, sign=True)))
        for variant in _shown_in_subgroups(analysis):
            table = stratum.table[variant]
            for name in (analysis.options.primary, "auroc", "ap"):
                interval = _ends(METRICS[name], table[name].interval) if name == analysis.options.primary else ""
                cells.append((METRICS[name].text(table[name].value), interval))
            found = table[FOUND].value
            cells.append((f"{found:.0%}" if math.isfinite(found) else DASH, ""))
        rows.append({"by": stratum.by, "name": stratum.name, "cases": int(stratum.cases.sum()),
                     "positives": stratum.positives, "cells": cells})  # fmt: skip
    return rows
