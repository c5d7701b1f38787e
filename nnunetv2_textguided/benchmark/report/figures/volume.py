"""The primary metric by lesion volume: small lesions are where methods differ."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnunetv2_textguided.benchmark.report.analysis import Analysis
from nnunetv2_textguided.benchmark.report.figures.colours import colours
from nnunetv2_textguided.pages.figures import legend, new_figure, quiet

_WIDTH = 0.22  # of the smoothing window, in decades of volume


def draw_volume(analysis: Analysis) -> Any | None:
    """A smoothed curve per variant over the cases of the headline variant; None with fewer than five lesions."""
    results, metric = analysis.results, analysis.primary
    volumes = results.reference_ml
    colour = colours(results.variants, analysis.baseline)
    figure = new_figure(10.6, 3.7)
    axes = figure.subplots()
    quiet(axes)
    for variant in results.variants:
        values = results.overlap[metric.name][variant]
        shown = (volumes > 0) & np.isfinite(values)
        if shown.sum() < 5:
            return None
        logs = np.log10(volumes[shown])
        if variant in (analysis.headline, analysis.baseline):
            axes.scatter(volumes[shown], values[shown], s=18, color=colour[variant], alpha=0.4, lw=0,
                         rasterized=int(shown.sum()) > 500)  # fmt: skip
        low, high = np.quantile(logs, (0.03, 0.97))
        places = np.linspace(low, high, 60)
        curve = smooth(logs, values[shown], places, _WIDTH)
        width = 2.6 if variant == analysis.headline else 1.8
        axes.plot(10**places, curve, color=colour[variant], lw=width, label=analysis.names[variant])
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    ticks = [m * 10.0**e for e in range(-4, 5) for m in (1, 2, 5) if low <= m * 10.0**e <= high]
    axes.minorticks_off()
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set(xlabel="lesion volume of the case [mL]", ylabel=metric.title)
    legend(axes, loc="best")
    return figure


def smooth(x: np.ndarray, y: np.ndarray, places: np.ndarray, width: float) -> np.ndarray:
    """Gaussian-weighted mean of y around each place."""
    weights = np.exp(-0.5 * ((places[:, None] - x) / width) ** 2)
    return np.asarray(weights @ y / weights.sum(axis=1))
