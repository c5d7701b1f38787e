"""Dice of cases with a lesion, and false volume of those without, at every threshold."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnunetv2_textguided.benchmark.report.analysis import Analysis
from nnunetv2_textguided.benchmark.report.figures.colours import colours
from nnunetv2_textguided.evaluation.thresholds import HALF, THRESHOLDS
from nnunetv2_textguided.pages.figures import SOFT, legend, new_figure, quiet, title

_SHOWN = (THRESHOLDS >= 0.01) & (THRESHOLDS <= 0.99)


def draw_thresholds(analysis: Analysis) -> Any | None:
    """A curve per variant, its fitted thresholds as points; None without probabilities."""
    models = {variant: model for variant, model in analysis.thresholds.models.items() if model.known}
    if not models:
        return None
    figure = new_figure(10.6, 3.7)
    axes = figure.subplots(1, 2)
    colour = colours(analysis.results.variants, analysis.baseline)
    for variant, model in models.items():
        curves = model.curves
        free = np.where((curves.reference == 0)[..., None], curves.false_ml(), np.nan)
        for panel, values in zip(axes, (curves.dice(), free), strict=True):
            known = np.isfinite(values).any(axis=-1)
            if not known.any():
                continue
            curve = values[known].mean(axis=0)
            width = 2.6 if variant == analysis.headline else 1.8
            panel.plot(
                THRESHOLDS[_SHOWN], curve[_SHOWN], color=colour[variant], lw=width, label=analysis.names[variant]
            )
            fitted = np.unique(model.index[model.index >= 0])
            panel.plot(THRESHOLDS[fitted], curve[fitted], "o", ms=5, color=colour[variant])
    for panel, what in zip(axes, ("Dice of cases with a lesion", "false volume of cases without, mL"), strict=True):
        quiet(panel)
        panel.axvline(THRESHOLDS[HALF], color=SOFT, lw=1, ls=(0, (2, 3)))
        panel.set(xlabel="threshold", xlim=(0, 1), ylim=(0, None))
        title(panel, what)
    legend(axes[0], loc="lower center")
    return figure
