"""Paired scatter: every case as a point, the baseline's value across, the variant's up."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnunetv2_textguided.benchmark.report.analysis import Analysis
from nnunetv2_textguided.benchmark.report.figures.colours import colours
from nnunetv2_textguided.pages.figures import INK, SOFT, new_figure, quiet, title

_COLUMNS = 4
_RASTER_FROM = 500  # points of a panel from which on it is an image: the page stays small


def draw_scatter(analysis: Analysis) -> Any | None:
    """One panel per variant that is not the baseline; None without any."""
    others = [v for v in analysis.results.variants if v != analysis.baseline]
    if not others:
        return None
    columns = min(_COLUMNS, max(3, len(others)))
    rows = -(-len(others) // columns)
    figure = new_figure(10.6, (3.2 if columns == _COLUMNS else 4.0) * rows)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    metric, colour = analysis.primary, colours(analysis.results.variants, analysis.baseline)
    values = analysis.results.overlap[metric.name]
    across = values[analysis.baseline]
    limit = _limits(np.concatenate([values[v] for v in analysis.results.variants]))
    for axes, variant in zip(grid, others, strict=False):
        up = values[variant]
        quiet(axes, grid="both")
        axes.plot(limit, limit, color=SOFT, lw=1)
        axes.scatter(across, up, s=22, color=colour[variant], alpha=0.6, lw=0, rasterized=len(up) > _RASTER_FROM)
        axes.set(xlim=limit, ylim=limit, aspect="equal")
        title(axes, analysis.names[variant])
        _count(axes, np.round(up - across, 9))
    for axes in grid[len(others) :]:
        axes.set_visible(False)
    for axes in grid[max(0, len(others) - columns) : len(others)]:
        axes.set_xlabel(f"{metric.title}, {analysis.names[analysis.baseline]}")
        axes.tick_params(labelbottom=True)
    for axes in grid[::columns]:
        axes.set_ylabel(metric.title)
    return figure


def _count(axes: Any, difference: np.ndarray) -> None:
    above, below = int((difference > 0).sum()), int((difference < 0).sum())
    options = {"transform": axes.transAxes, "size": 8.5, "color": INK}
    axes.text(0.04, 0.95, f"{above} higher", va="top", **options)
    axes.text(0.96, 0.04, f"{below} lower", ha="right", **options)


def _limits(values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if finite.size == 0 or finite.max() <= 1:
        return -0.03, 1.03
    return -0.03 * float(finite.max()), 1.05 * float(finite.max())
