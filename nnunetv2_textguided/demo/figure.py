"""The demo in one picture, for a README: two cases, what the text saw, and the curves of the training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnunetv2_textguided.demo.charts import BLUE, ORANGE, shade_phases
from nnunetv2_textguided.demo.film import display_range
from nnunetv2_textguided.demo.record import CaseRecord, DemoRecord
from nnunetv2_textguided.demo.report_case import change_limit
from nnunetv2_textguided.files import atomic_path
from nnunetv2_textguided.pages.figures import INK, legend, quiet

REFERENCE, PREDICTED, GATE = "#38bdf8", "#fbbf24", "#c084fc"
COLUMNS = ("T2W", "ADC", "HBV", "text heatmap", "refiner: change in the gate")
SHOWN = 2


def write_figure(path: Path, record: DemoRecord) -> None:
    """Write the picture of a run as PNG, atomically."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    cases = choose_cases(record.cases, SHOWN)
    figure = Figure(figsize=(12.5, 2.62 * len(cases) + 2.7), dpi=110, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(len(cases) + 1, 10, height_ratios=[*[1] * len(cases), 0.86])
    limit = change_limit(cases)
    for row, case in enumerate(cases):
        for column, title in enumerate(COLUMNS):
            axes = figure.add_subplot(grid[row, 2 * column : 2 * column + 2])
            _draw_view(axes, case, title, limit)
            if row == 0:
                axes.set_title(title, fontsize=11, color=INK)
            if title.startswith("refiner"):
                _draw_scale(axes, limit)
    _draw_curves(figure.add_subplot(grid[-1, :5]), record, "similarity with the lesion prompts", "similarity")
    _draw_curves(figure.add_subplot(grid[-1, 5:]), record, "Dice on validation patches", "dice")
    lines = [
        Line2D([], [], color=c, lw=2, label=name) for c, name in ((REFERENCE, "reference"), (PREDICTED, "predicted"))
    ]
    figure.legend(handles=lines, loc="outside lower center", ncols=2, frameon=False, fontsize=10, labelcolor=INK)
    with atomic_path(path) as temporary:
        figure.savefig(temporary)


def choose_cases(cases: Sequence[CaseRecord], count: int) -> list[CaseRecord]:
    """The best and the median case by Dice, as many as there are."""
    ranked = sorted((c for c in cases if c.trained.dice is not None), key=lambda c: -float(c.trained.dice or 0))
    wanted = [ranked[0], ranked[len(ranked) // 2]] if len(ranked) > 1 else ranked
    return (wanted or list(cases))[:count]


def _draw_view(axes: Any, case: CaseRecord, title: str, limit: float) -> None:
    k = case.key_slice
    channel = title if title in case.images else "T2W"
    low, high = display_range(channel, case.images[channel])
    axes.imshow(case.images[channel][k], cmap="gray", vmin=low, vmax=high, interpolation="bicubic")
    if title == "text heatmap":
        heat = case.effect.heatmap[k]
        axes.imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=np.clip(2 * heat, 0, 0.85), interpolation="bilinear")
    elif title.startswith("refiner"):
        change = case.effect.change[k]
        strength = np.clip(1.5 * np.abs(change) / limit, 0, 0.95)
        axes.imshow(change, cmap="RdBu_r", vmin=-limit, vmax=limit, alpha=strength, interpolation="nearest")
    axes.contour(case.reference[k], [0.5], colors=[REFERENCE], linewidths=1.5)
    if title in case.images:
        axes.contour(case.predicted[k], [0.5], colors=[PREDICTED], linewidths=1.5)
    axes.set_axis_off()


def _draw_scale(axes: Any, limit: float) -> None:
    """The colour bar of the refiner's change, in logits, in the lower left of the panel."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    inset = axes.inset_axes([0.06, 0.11, 0.42, 0.035])
    colours = ScalarMappable(Normalize(-limit, limit), "RdBu_r")
    bar = axes.figure.colorbar(colours, cax=inset, orientation="horizontal", ticks=[-limit, 0, limit])
    bar.ax.set_xticklabels([f"{-limit:g}", "0", f"+{limit:g} logits"], fontsize=7, color="white")
    bar.ax.tick_params(length=0, pad=1)


def _draw_curves(axes: Any, record: DemoRecord, title: str, what: str) -> None:
    log = record.log
    curves = {
        "similarity": (("similarity_foreground", "in lesions", ORANGE), ("similarity_background", "elsewhere", BLUE)),
        "dice": (("mean_fg_dice", "per epoch", ORANGE), ("ema_fg_dice", "moving average", BLUE)),
    }[what]
    quiet(axes)
    shade_phases(axes, log)
    for column, name, colour in curves:
        axes.plot(range(1, log.epochs + 1), log.columns[column], color=colour, lw=2, label=name)
    axes.set_ylim(0, 1)
    axes.set_xlabel("epoch")
    axes.set_title(title, fontsize=11, color=INK, pad=16)
    legend(axes, loc="best")
