"""The main table for a paper, as LaTeX (booktabs)."""

from __future__ import annotations

import math

from nnunetv2_textguided.benchmark.report.analysis import Analysis
from nnunetv2_textguided.evaluation.estimates import Estimate
from nnunetv2_textguided.evaluation.metrics import METRICS, MINUS, Metric
from nnunetv2_textguided.nnunet.variant import Variant

COLUMNS = ("dice", "nsd_1mm", "hd95", "precision", "recall", "auroc", "ap")
_ESCAPED = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
            "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}  # fmt: skip


def latex_table(analysis: Analysis) -> str:
    """A complete table environment; needs \\usepackage{booktabs}. Best values are bold, intervals beneath."""
    names = [n for n in COLUMNS if any(math.isfinite(e[n].value) for e in analysis.estimates.table.values())]
    metrics = [METRICS[name] for name in names]
    best = {metric.name: _best(analysis, metric) for metric in metrics}
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_caption(analysis)}}}",
        r"\begin{tabular}{l" + "c" * len(metrics) + "}",
        r"\toprule",
        " & ".join(["", *(_title(metric) for metric in metrics)]) + r" \\",
        r"\midrule",
    ]
    for variant in analysis.results.variants:
        estimates = analysis.estimates.table[variant]
        cells = [
            _value(m, estimates[m.name], bold=variant in best[m.name]) + _mark(analysis, variant, m) for m in metrics
        ]
        intervals = [_interval(metric, estimates[metric.name]) for metric in metrics]
        lines.append(" & ".join([escape(analysis.names[variant]), *cells]) + r" \\")
        lines.append(" & ".join(["", *intervals]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Text without LaTeX's special characters."""
    return "".join(_ESCAPED.get(character, character) for character in text)


def _caption(analysis: Analysis) -> str:
    results, options = analysis.results, analysis.options
    return escape(
        f"{len(analysis.study.folds)}-fold cross-validation on {analysis.study.dataset} ({len(results.cases)} cases, "
        f"{len(set(results.patients))} patients). In brackets: {options.level:.0%} intervals, bootstrap over patients. "
        f"Empty masks: {options.scoring.empty.value}. "
    ) + (
        rf"$\dagger$: differs from {escape(analysis.names[analysis.baseline])} "
        rf"(over patients and trainings, Holm-corrected, {1 - options.level:.2g})."
    )


def _title(metric: Metric) -> str:
    return f"{metric.title} " + (r"$\uparrow$" if metric.higher_is_better else r"$\downarrow$")


def _best(analysis: Analysis, metric: Metric) -> set[Variant]:
    """The variants with the best value as it is shown."""
    shown = {v: round(e[metric.name].value, metric.digits) for v, e in analysis.estimates.table.items()}
    finite = {variant: value for variant, value in shown.items() if math.isfinite(value)}
    if not finite:
        return set()
    best = (max if metric.higher_is_better else min)(finite.values())
    return {variant for variant, value in finite.items() if value == best}


def _mark(analysis: Analysis, variant: Variant, metric: Metric) -> str:
    comparisons = analysis.comparisons.get(metric.name, [])
    marked = any(c.variant == variant and c.significant(analysis.options.level) for c in comparisons)
    return r"$^\dagger$" if marked else ""


def _value(metric: Metric, estimate: Estimate, bold: bool) -> str:
    if not math.isfinite(estimate.value):
        return "--"
    text = metric.text(estimate.value).replace(MINUS, "$-$")
    return rf"\textbf{{{text}}}" if bold else text


def _interval(metric: Metric, estimate: Estimate) -> str:
    ends = (estimate.interval.low, estimate.interval.high)
    if not all(map(math.isfinite, ends)):
        return ""
    low, high = (metric.text(end).replace(MINUS, "$-$") for end in ends)
    return rf"{{\scriptsize [{low}, {high}]}}"
