"""Forest plots: differences with their intervals, one row per comparison."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from nnunetv2_textguided.benchmark.report.analysis import Analysis
from nnunetv2_textguided.benchmark.report.figures.colours import colours
from nnunetv2_textguided.benchmark.report.verdict import QUESTION
from nnunetv2_textguided.evaluation.comparison import Comparison
from nnunetv2_textguided.evaluation.metrics import METRICS, Metric
from nnunetv2_textguided.pages.figures import FAINT, GROUND, INK, SOFT, new_figure, quiet, title

_BESIDE = ("dice", "nsd_1mm", "auroc", "ap")


def draw_forest(analysis: Analysis) -> Any | None:
    """Every variant minus the baseline, in the primary metric and beside it in others; None where none has a value."""
    rows = analysis.comparisons.get(analysis.options.primary, [])
    names = [analysis.options.primary, *(n for n in _BESIDE if n != analysis.options.primary)]
    shown = [n for n in names if any(math.isfinite(c.found.value) for c in analysis.comparisons.get(n, []))][:4]
    if not shown:
        return None
    figure = new_figure(10.6, 0.95 + 0.42 * len(rows))
    axes = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    colour = colours(analysis.results.variants, analysis.baseline)
    for panel, name in zip(axes, shown, strict=True):
        comparisons = analysis.comparisons[name]
        _rows(panel, comparisons, METRICS[name], [colour[c.variant] for c in comparisons], analysis.options.level)
    axes[0].set_yticks(range(len(rows)), [analysis.names[c.variant] for c in rows])
    axes[0].tick_params(axis="y", labelsize=9.5, labelcolor=INK)
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    return figure


def draw_verdict(analysis: Analysis) -> Any | None:
    """The method minus its ablation and its controls; rows of what was not run stay empty."""
    found = analysis.verdict.comparisons
    if not found:
        return None
    figure = new_figure(5.8, 0.75 + 0.4 * len(QUESTION))
    axes = figure.subplots()
    metric = analysis.primary
    comparisons = [found[r] for r in QUESTION if r in found]
    positions = [i for i, r in enumerate(QUESTION) if r in found]
    _rows(
        axes,
        comparisons,
        metric,
        [_verdict_colour(c, analysis) for c in comparisons],
        analysis.options.level,
        positions,
    )
    for row, role in enumerate(QUESTION):
        if role not in found:
            axes.annotate("not run", (0, row), (6, 0), textcoords="offset points", va="center", size=8.5, color=SOFT,
                          style="italic")  # fmt: skip
    axes.set_yticks(range(len(QUESTION)), [f"minus {role.value}" for role in QUESTION])
    axes.tick_params(axis="y", labelsize=9.5, labelcolor=INK)
    axes.set_ylim(len(QUESTION) - 0.5, -0.5)
    return figure


def _verdict_colour(comparison: Comparison, analysis: Analysis) -> str:
    colour: str = colours(analysis.results.variants, analysis.baseline)[comparison.variant]
    return colour


def _rows(
    axes: Any,
    comparisons: Sequence[Comparison],
    metric: Metric,
    shades: Sequence[str],
    level: float,
    positions: Sequence[int] | None = None,
) -> None:
    quiet(axes, grid="x")
    axes.axvline(0, color=SOFT, lw=1.0)
    rows = positions if positions is not None else range(len(comparisons))
    for row, comparison, shade in zip(rows, comparisons, shades, strict=True):
        value = comparison.found.value
        if not math.isfinite(value):
            continue
        # Thick: over these trainings' patients alone. Thin: over patients and trainings, which is what counts.
        for ends, width in ((comparison.found.ends_over_patients, 4.6), (comparison.found.ends, 1.6)):
            axes.plot(ends, [row, row], color=shade, lw=width, alpha=0.35 if width > 2 else 1, solid_capstyle="round")
        # Filled: significant after correction. Hollow: not.
        fill = shade if comparison.significant(level) else GROUND
        axes.plot(value, row, "o", ms=7.5, mfc=fill, mec=shade, mew=1.8)
        axes.annotate(metric.text(value, sign=True), (value, row), (0, 7),
                      textcoords="offset points", ha="center", size=8, color=INK)  # fmt: skip
    low, high = axes.get_xlim()
    margin = 0.12 * max(high - low, 1e-3)
    axes.set_xlim(min(low, 0) - margin, max(high, 0) + margin)
    axes.locator_params(axis="x", nbins=5)
    title(axes, metric.title)
    better = "right is better" if metric.higher_is_better else "left is better"
    axes.set_xlabel(f"difference, {better}")
    axes.spines["bottom"].set(visible=True, color=FAINT)
