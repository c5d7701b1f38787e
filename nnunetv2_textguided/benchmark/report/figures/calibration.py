"""Reliability of each case's score and of its likelihood, and the decision curve of the latter."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnunetv2_textguided.benchmark.report.analysis import Analysis
from nnunetv2_textguided.benchmark.report.figures.colours import colours
from nnunetv2_textguided.benchmark.report.probabilities import LIKELIHOOD, SCORE, THRESHOLDS
from nnunetv2_textguided.evaluation.calibration import reliability
from nnunetv2_textguided.pages.figures import INK, SOFT, legend, new_figure, quiet, title

_TITLES = {SCORE: "Score as it is", LIKELIHOOD: "Likelihood, cross-fitted"}


def draw_calibration(analysis: Analysis) -> Any | None:
    """A panel for the score and one for the likelihood; None where neither is known."""
    found = analysis.probabilities
    shown = {of: predicted for of, predicted in found.predicted.items() if predicted}
    if not shown:
        return None
    figure = new_figure(10.6, 4.4)
    panels = figure.subplots(1, len(_TITLES))
    colour = colours(analysis.results.variants, analysis.baseline)
    for axes, (of, text) in zip(panels, _TITLES.items(), strict=True):
        quiet(axes, grid="both")
        axes.plot([0, 1], [0, 1], color=SOFT, lw=1, ls=(0, (2, 3)))
        for variant, predicted in shown.get(of, {}).items():
            bins = reliability(predicted, found.positive, analysis.options.level)
            x, y = [one.predicted for one in bins], [one.observed for one in bins]
            width = 2.4 if variant == analysis.headline else 1.7
            axes.plot(x, y, "o-", ms=4.5, color=colour[variant], lw=width, label=analysis.names[variant])
            if variant in (analysis.headline, analysis.baseline):
                axes.vlines(x, [one.low for one in bins], [one.high for one in bins], color=colour[variant],
                            lw=1.2, alpha=0.6)  # fmt: skip
        if of not in shown:
            axes.annotate("not known", (0.5, 0.5), ha="center", size=8.5, color=SOFT, style="italic")
        axes.set(xlabel="predicted probability", ylabel="share of cases with a lesion", xlim=(-0.02, 1.02),
                 ylim=(-0.02, 1.02))  # fmt: skip
        title(axes, text)
    legend(panels[0], loc="upper left")
    return figure


def draw_decision(analysis: Analysis) -> Any | None:
    """Net benefit of every variant, of a biopsy for all and for nobody; None without likelihoods."""
    found = analysis.probabilities
    if not found.benefit:
        return None
    figure = new_figure(10.6, 3.9)
    axes = figure.subplots()
    quiet(axes)
    colour = colours(analysis.results.variants, analysis.baseline)
    axes.axhline(0, color=INK, lw=1.2, label="biopsy for nobody")
    axes.plot(THRESHOLDS, found.everyone, color=SOFT, lw=1.5, ls=(0, (4, 2)), label="biopsy for all")
    for variant, values in found.benefit.items():
        width = 2.4 if variant == analysis.headline else 1.7
        axes.plot(THRESHOLDS, [value for value, _ in values], color=colour[variant], lw=width,
                  label=analysis.names[variant])  # fmt: skip
        if variant in (analysis.headline, analysis.baseline):
            low, high = np.array([(ends.low, ends.high) for _, ends in values]).T
            axes.fill_between(THRESHOLDS, low, high, color=colour[variant], alpha=0.13, lw=0)
    axes.set_xticks(THRESHOLDS[::5], [f"{threshold:.0%}" for threshold in THRESHOLDS[::5]])
    axes.set(xlabel="threshold probability", ylabel="net benefit", xlim=(THRESHOLDS[0], THRESHOLDS[-1]),
             ylim=(min(-0.02, float(found.everyone.min())), None))  # fmt: skip
    legend(axes, loc="upper right")
    return figure
