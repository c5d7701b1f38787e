"""How the trainings went: the pseudo Dice that nnU-Net measures after each epoch, and the training loss."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnunetv2_textguided.benchmark.report.analysis import Analysis
from nnunetv2_textguided.benchmark.report.figures.colours import colours
from nnunetv2_textguided.pages.figures import legend, new_figure, quiet, title

_PANELS = (
    ("ema_dice", "Moving average of the pseudo Dice"),
    ("val_loss", "Validation loss"),
)


def draw_convergence(analysis: Analysis) -> Any | None:
    """Mean over folds, with the range of folds; None where there are no logs."""
    if not analysis.curves:
        return None
    figure = new_figure(10.6, 3.4)
    panels = figure.subplots(1, len(_PANELS))
    colour = colours(analysis.results.variants, analysis.baseline)
    for axes, (name, text) in zip(panels, _PANELS, strict=True):
        quiet(axes)
        for variant, curves in analysis.curves.items():
            values = curves.values[name]
            defined = np.isfinite(values).any(axis=0)
            if not defined.any():
                continue
            epochs, values = curves.epochs[defined], values[:, defined]
            width = 2.4 if variant == analysis.headline else 1.7
            axes.plot(
                epochs, np.nanmean(values, axis=0), color=colour[variant], lw=width, label=analysis.names[variant]
            )
            if len(values) > 1:
                axes.fill_between(epochs, np.nanmin(values, axis=0), np.nanmax(values, axis=0), color=colour[variant],
                                  alpha=0.1, lw=0)  # fmt: skip
        title(axes, text)
        axes.set_xlabel("epoch")
    legend(panels[0], loc="best")
    return figure
