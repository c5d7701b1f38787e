"""The primary metric's distribution: every case, the quartiles, and the mean."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnunetv2_textguided.benchmark.report.analysis import Analysis
from nnunetv2_textguided.benchmark.report.figures.colours import colours
from nnunetv2_textguided.pages.figures import GROUND, INK, new_figure, quiet


def draw_distribution(analysis: Analysis) -> Any:
    """One row per variant."""
    variants, metric = analysis.results.variants, analysis.primary
    figure = new_figure(10.6, 0.7 + 0.55 * len(variants))
    axes = figure.subplots()
    quiet(axes, grid="x")
    colour = colours(variants, analysis.baseline)
    random = np.random.default_rng(0)
    for row, variant in enumerate(variants):
        values = analysis.results.overlap[metric.name][variant]
        values = values[np.isfinite(values)]
        if values.size == 0:
            continue
        spread = row + random.uniform(-0.26, 0.26, values.size)
        axes.scatter(values, spread, s=16, color=colour[variant], alpha=0.45, lw=0, rasterized=values.size > 500)
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
        axes.plot([low, high], [row, row], color=INK, lw=5, alpha=0.75, solid_capstyle="round")
        axes.plot(middle, row, "|", color=GROUND, ms=9, mew=2)
        axes.plot(values.mean(), row, "D", mfc=colour[variant], mec=GROUND, ms=8, mew=1.2)
    axes.set_yticks(range(len(variants)), [analysis.names[v] for v in variants])
    axes.tick_params(axis="y", labelsize=9.5, labelcolor=INK)
    axes.set_ylim(len(variants) - 0.5, -0.5)
    axes.set_xlabel(f"{metric.title} of each case; bar: quartiles with the median, diamond: mean")
    return figure
