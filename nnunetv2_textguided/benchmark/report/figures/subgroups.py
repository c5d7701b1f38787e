"""The primary metric by subgroup, with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from nnunetv2_textguided.benchmark.report.analysis import Analysis
from nnunetv2_textguided.benchmark.report.figures.colours import colours
from nnunetv2_textguided.evaluation.strata import Stratum
from nnunetv2_textguided.pages.figures import INK, SOFT, legend, new_figure, quiet

_HEIGHT = 0.13  # inches per variant
_HEADING = 0.75  # rows that a heading takes


def draw_subgroups(analysis: Analysis) -> Any | None:
    """One row per subgroup, one mark per variant; None where the data set cannot be divided."""
    metric, variants = analysis.options.primary, analysis.results.variants
    strata = [s for s in analysis.strata if any(math.isfinite(e[metric].value) for e in s.table.values())]
    if not strata:
        return None
    columns = [column for column in _two_columns(strata) if column]
    longest = max(_rows(column) for column in columns)
    figure = new_figure(10.6, 0.8 + max(0.36, _HEIGHT * len(variants)) * longest)
    panels = figure.subplots(1, len(columns), sharex=True, squeeze=False)[0]
    for axes, column in zip(panels, columns, strict=True):
        _draw(axes, column, analysis)
        axes.set_ylim(longest - 0.4, -0.3)
        axes.set_xlabel(analysis.primary.title)
    handles, labels = panels[0].get_legend_handles_labels()
    legend(figure, handles=handles, labels=labels, loc="outside upper center", ncols=min(6, len(variants)))
    return figure


def _two_columns(strata: Sequence[Stratum]) -> tuple[list[Stratum], list[Stratum]]:
    """Whole divisions, in order, each into the column that is shorter by then."""
    left: list[Stratum] = []
    right: list[Stratum] = []
    for by in dict.fromkeys(stratum.by for stratum in strata):
        shorter = left if _rows(left) <= _rows(right) else right
        shorter += [stratum for stratum in strata if stratum.by == by]
    return left, right


def _rows(strata: Sequence[Stratum]) -> float:
    return len(strata) + _HEADING * len({stratum.by for stratum in strata})


def _draw(axes: Any, strata: Sequence[Stratum], analysis: Analysis) -> None:
    quiet(axes, grid="x")
    metric, variants = analysis.options.primary, analysis.results.variants
    colour = colours(variants, analysis.baseline)
    row, ticks, labels, before = 0.0, [], [], ""
    for stratum in strata:
        if stratum.by != before:
            row, before = row + _HEADING, stratum.by
            where = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
            axes.annotate(stratum.by, (0, row - 0.68), (-8, 0), ha="right", va="center", size=9, weight="bold",
                          color=INK, **where)  # fmt: skip
            axes.axhline(row - 0.68, color=SOFT, lw=0.5, alpha=0.4)
        ticks.append(row)
        labels.append(f"{stratum.name}  (n = {stratum.table[analysis.headline][metric].cases})")
        for place, variant in enumerate(variants):
            estimate = stratum.table[variant][metric]
            y = row + 0.72 * ((place + 0.5) / len(variants) - 0.5)
            ends = [estimate.interval.low, estimate.interval.high]
            axes.plot(ends, [y, y], color=colour[variant], lw=1.8, alpha=0.7)
            label = analysis.names[variant] if stratum is strata[0] else None
            axes.plot(estimate.value, y, "o", color=colour[variant], ms=4.5, label=label)
        row += 1
    axes.set_yticks(ticks, labels)
