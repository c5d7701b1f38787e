"""Curves of a training, its phases shaded: each chart as two PNGs, for light and for dark pages."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nnunetv2_textguided.demo.film import data_uri
from nnunetv2_textguided.demo.record import TrainingLog


@dataclass(frozen=True)
class Theme:
    """Colours of a page."""

    ink: str
    faint: str
    phase: dict[str, str]
    """Shade per phase; a phase that is not named stays unshaded."""


LIGHT = Theme("#30363d", "#d5d8dc", {"warm-up": "#f1f2f3", "ramp": "#fdf1dc", "align": "#e3f1ec", "refine": "#e8e6f8"})
DARK = Theme("#c9d1d9", "#3a424b", {"warm-up": "#1c2127", "ramp": "#33291a", "align": "#17302a", "refine": "#282446"})
BLUE, ORANGE, GREY = "#3f8fd6", "#e8920c", "#8d96a0"


@dataclass(frozen=True)
class Curve:
    """One line of a chart."""

    column: str
    name: str
    colour: str
    dashed: bool = False


@dataclass(frozen=True)
class Chart:
    """One chart and the sentence that says how to read it."""

    title: str
    reading: str
    curves: Sequence[Curve]
    unit_interval: bool = False


CHARTS = (
    Chart(
        "Loss",
        "The whole training loss gains the text terms in the ramp; the segmentation loss keeps falling beneath it.",
        (
            Curve("train_loss", "total", GREY),
            Curve("loss_seg", "segmentation", BLUE),
            Curve("val_loss", "validation", ORANGE, True),
        ),
    ),
    Chart(
        "Text-image similarity",
        "How much voxels resemble the lesion prompts: those inside lesions should rise, all others should fall.",
        (Curve("similarity_foreground", "in lesions", ORANGE), Curve("similarity_background", "elsewhere", BLUE)),
        unit_interval=True,
    ),
    Chart(
        "Dice on validation patches",
        "nnU-Net's pseudo Dice, measured on random patches after every epoch, and its moving average.",
        (Curve("mean_fg_dice", "per epoch", GREY), Curve("ema_fg_dice", "moving average", BLUE)),
        unit_interval=True,
    ),
    Chart(
        "Refiner: mean change of logits",
        "Nothing before the refine phase, by construction; then the refiner edits what its gate lets through.",
        (Curve("mean_change", "in the gate", BLUE),),
    ),
)


def draw_chart(chart: Chart, log: TrainingLog, theme: Theme) -> str:
    """Data URI of one chart as PNG with a transparent ground."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 2.9), dpi=200, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    shade_phases(axes, log, theme)
    epochs = range(1, log.epochs + 1)
    for curve in chart.curves:
        style = (0, (3, 2)) if curve.dashed else "solid"
        axes.plot(epochs, log.columns[curve.column], color=curve.colour, lw=2, ls=style, label=curve.name)
    if chart.unit_interval:
        axes.set_ylim(0, 1)
    style_axes(axes, theme)
    if len(chart.curves) > 1:
        axes.legend(frameon=False, fontsize=9, labelcolor=theme.ink, loc="best")
    file = io.BytesIO()
    figure.savefig(file, format="png", transparent=True)
    return data_uri(file.getvalue(), "image/png")


def shade_phases(axes: Any, log: TrainingLog, theme: Theme) -> None:
    """Shade the phases of a training behind the curves of matplotlib axes, and name them at the top."""
    raised = False
    for phase, first, last in log.spans():
        left, right = first + 0.5, last + 1.5
        if phase in theme.phase:
            axes.axvspan(left, right, color=theme.phase[phase], lw=0, zorder=0)
        # The name of a narrow phase is wider than its span: every other one stands a line higher.
        raised = not raised and right - left < 0.15 * log.epochs
        axes.text(
            (left + right) / 2,
            1.09 if raised else 1.02,
            phase,
            transform=axes.get_xaxis_transform(),
            ha="center",
            va="bottom",
            fontsize=8,
            color=theme.ink,
        )
    axes.set_xlim(0.5, log.epochs + 0.5)


def style_axes(axes: Any, theme: Theme) -> None:
    """Quiet axes: no box, thin horizontal grid, text in the page's ink."""
    axes.set_xlabel("epoch", color=theme.ink, fontsize=9)
    axes.tick_params(colors=theme.ink, labelsize=9, length=0)
    axes.grid(axis="y", color=theme.faint, lw=0.7)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)
