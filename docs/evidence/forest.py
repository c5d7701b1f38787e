"""The figure of docs/evidence.md, for answers.py: differences with their intervals, a row for each question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nnunetv2_textguided.evaluation.difference import Difference
from nnunetv2_textguided.pages.figures import FAINT, INK, SOFT, draw_svg, new_figure, quiet

COLOURS = {"shown": "#0d9488", "harm": "#d2573f"}
LIMIT = 0.25
"""Of the axis. Longer intervals end there with an arrow."""


@dataclass(frozen=True)
class Row:
    """A difference.

    Attributes:
        name, label: what stands on its left and on its right.
        found: where it lies.
        answer: its colour, where it is of COLOURS.
        margin: what may be lost; marked where it is not 0.
    """

    name: str
    label: str
    found: Difference
    answer: str
    margin: float


def draw(rows: Sequence[Row]) -> str:
    """The figure as SVG, on white: a page of the repository has no colours of its own."""
    figure = new_figure(11.4, 0.6 + 0.3 * len(rows))
    axes = figure.subplots()
    quiet(axes, grid="x")
    axes.axvline(0, color=SOFT, lw=1)
    for number, row in enumerate(rows):
        colour = COLOURS.get(row.answer, SOFT)
        ends = [min(max(end, -LIMIT), LIMIT) for end in row.found.ends]
        axes.plot(ends, (number, number), color=colour, lw=1.8, solid_capstyle="round")
        for end, inside, sign in zip(row.found.ends, ends, "<>", strict=True):
            if end != inside:
                axes.plot(inside, number, sign, color=colour, ms=5)
        if row.margin:
            axes.plot([-row.margin] * 2, (number - 0.3, number + 0.3), color=INK, lw=1.2)
        fill = colour if row.answer in COLOURS else "white"
        axes.plot(row.found.value, number, "o", ms=6, color=colour, mfc=fill)
        axes.annotate(row.label, (1.01, number), xycoords=("axes fraction", "data"), va="center", size=8.5, color=INK)
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.tick_params(axis="y", labelcolor=INK)
    axes.set(xlim=(-LIMIT - 0.01, LIMIT + 0.01), ylim=(len(rows) - 0.5, -0.5))
    axes.set_xlabel("difference and 95 % interval over patients and trainings; right is better")
    axes.spines["bottom"].set(visible=True, color=FAINT)
    return draw_svg(figure, "evidence").replace("<defs>", '<rect width="100%" height="100%" fill="white"/>\n <defs>', 1)
