"""Detection: lesion sensitivity over false positives (FROC), and cases with and without lesion (ROC)."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnunetv2_textguided.benchmark.report.analysis import Analysis
from nnunetv2_textguided.benchmark.report.figures.colours import colours
from nnunetv2_textguided.evaluation.bootstrap import draw
from nnunetv2_textguided.evaluation.detection_metrics import Found
from nnunetv2_textguided.nnunet.variant import Variant
from nnunetv2_textguided.pages.figures import SOFT, legend, new_figure, quiet, title

_RATES = np.geomspace(0.03, 5, 70)
_BAND = 300  # replicates of the band


def draw_detection(analysis: Analysis) -> Any | None:
    """FROC, with the interval of the headline variant and of the baseline, and ROC; None without lesions."""
    results = analysis.results
    if not results.lesions.any() or not results.detection_comparable:
        return None
    figure = new_figure(10.6, 4.0)
    froc, roc = figure.subplots(1, 2, width_ratios=(1.25, 1))
    for axes in (froc, roc):
        quiet(axes, grid="both")
        axes.set_ylim(-0.02, 1.02)
    colour = colours(results.variants, analysis.baseline)
    weights = draw(results.patients, _BAND, analysis.options.seed)
    for variant in _headline_last(analysis):
        width = 2.4 if variant == analysis.headline else 1.7
        style = {"color": colour[variant], "lw": width}
        once = np.ones((1, len(results.cases)), dtype=int)
        froc.plot(_RATES, _sensitivity(analysis, variant, once)[0], label=analysis.names[variant],
                  drawstyle="steps-post", **style)  # fmt: skip
        if variant in (analysis.headline, analysis.baseline):
            band = _sensitivity(analysis, variant, weights)
            tail = 50 * (1 - analysis.options.level)
            low, high = np.nanpercentile(band, (tail, 100 - tail), axis=0)
            froc.fill_between(_RATES, low, high, color=colour[variant], alpha=0.13, lw=0, step="post")
        for found in results.found(variant)[:1]:
            across, up = roc_curve(found)
            roc.plot(across, up, **style)
    froc.set_xscale("log")
    ticks = (0.05, 0.1, 0.25, 0.5, 1, 2, 5)
    froc.set_xticks(ticks, [f"{t:g}" for t in ticks])
    froc.set(xlabel="false positives per case", ylabel="lesion sensitivity", xlim=(_RATES[0], _RATES[-1]))
    froc.minorticks_off()
    title(froc, "Lesions: FROC")
    roc.plot([0, 1], [0, 1], color=SOFT, lw=1, ls=(0, (2, 3)))
    one = "" if len(results.classes) == 1 else f" ({results.classes[0]})"
    roc.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.02, 1.02))
    title(roc, f"Cases: ROC{one}")
    legend(froc, loc="lower right")
    return figure


def roc_curve(found: Found) -> tuple[np.ndarray, np.ndarray]:
    """False-positive and true-positive rates of cases over falling thresholds; empty where one kind is missing."""
    positive = found.positive
    if positive.all() or not positive.any():
        return np.empty(0), np.empty(0)
    order = np.argsort(-found.scores, kind="stable")
    ends = np.flatnonzero(np.diff(found.scores[order], append=np.inf))
    up = np.cumsum(positive[order])[ends] / positive.sum()
    across = np.cumsum(~positive[order])[ends] / (~positive).sum()
    return np.concatenate(([0.0], across)), np.concatenate(([0.0], up))


def _headline_last(analysis: Analysis) -> list[Variant]:
    return sorted(analysis.results.variants, key=lambda variant: variant == analysis.headline)


def _sensitivity(analysis: Analysis, variant: Variant, weights: np.ndarray) -> np.ndarray:
    """(R, rates), the mean over classes."""
    found = analysis.results.found(variant)
    curves = [one.lesions.sensitivity(weights, list(_RATES)) for one in found]
    return np.asarray(np.mean(curves, axis=0))
