"""Curves of a training, its phases shaded, as figures that follow the page's theme."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nnunetv2_textguided.demo.record import TrainingLog
from nnunetv2_textguided.pages.figures import INK, draw_svg, inline, legend, new_figure, quiet

PHASES = {"warm-up": "#f1f2f3", "ramp": "#fdf1dc", "align": "#e3f1ec", "refine": "#e8e6f8"}
"""Shade of each phase, and in a page the variable of its name; a phase that is not named stays unshaded."""
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


def draw_chart(chart: Chart, log: TrainingLog) -> str:
    """One chart as SVG element of the page."""
    figure = new_figure(4.6, 2.9)
    axes = figure.add_subplot()
    quiet(axes)
    shade_phases(axes, log)
    epochs = range(1, log.epochs + 1)
    for curve in chart.curves:
        style = (0, (3, 2)) if curve.dashed else "solid"
        axes.plot(epochs, log.columns[curve.column], color=curve.colour, lw=2, ls=style, label=curve.name)
    if chart.unit_interval:
        axes.set_ylim(0, 1)
    axes.set_xlabel("epoch")
    # The exponent of small values would stand where the phases' names stand.
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    if len(chart.curves) > 1:
        legend(axes, loc="best")
    return inline(draw_svg(figure, chart.title), {shade: f"var(--{phase})" for phase, shade in PHASES.items()})


def shade_phases(axes: Any, log: TrainingLog) -> None:
    """Shade the phases of a training behind the curves of matplotlib axes, and name them at the top."""
    raised = False
    for phase, first, last in log.spans():
        left, right = first + 0.5, last + 1.5
        if phase in PHASES:
            axes.axvspan(left, right, color=PHASES[phase], lw=0, zorder=0)
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
            color=INK,
        )
    axes.set_xlim(0.5, log.epochs + 0.5)
