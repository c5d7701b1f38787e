"""What all figures share: quiet axes, and a figure as SVG that follows the page's theme."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from nnunetv2_textguided.files import atomic_path

# Each of these is one variable of the page (page.css), so that a figure follows light and dark themes.
INK, SOFT, FAINT, GROUND = "#30363d", "#6b7681", "#dcdfe3", "#fefefe"
_VARIABLES = {INK: "var(--ink)", SOFT: "var(--soft)", FAINT: "var(--line)", GROUND: "var(--surface)"}
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.linewidth": 0.8,
}


def new_figure(width: float, height: float) -> Any:
    """An empty matplotlib figure, in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="none")
    FigureCanvasAgg(figure)
    return figure


def quiet(axes: Any, *, grid: str | None = "y") -> None:
    """No box, a thin grid, text in the page's ink."""
    axes.set_facecolor("none")
    axes.tick_params(colors=SOFT, labelsize=8.5, length=0)
    axes.xaxis.label.set(color=SOFT, size=8.5)
    axes.yaxis.label.set(color=SOFT, size=8.5)
    if grid:
        axes.grid(axis=grid, color=FAINT, lw=0.7)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)


def title(axes: Any, text: str, loc: str = "center") -> None:
    """A small bold title."""
    axes.set_title(text, loc=loc, color=INK, size=10, weight="bold")


def legend(target: Any, **options: Any) -> None:
    """A legend without a frame."""
    target.legend(frameon=False, fontsize=8.5, labelcolor=INK, handlelength=1.5, **options)


def write_pdf(figure: Any, path: Path) -> None:
    """Write a figure as PDF, its fonts embedded."""
    import matplotlib

    # Without the date, equal figures are equal files.
    with matplotlib.rc_context({**_SETTINGS, "pdf.fonttype": 42}), atomic_path(path) as temporary:
        figure.savefig(temporary, facecolor="white", metadata={"CreationDate": None})


def draw_svg(figure: Any, name: str) -> str:
    """A figure as the text of an SVG file.

    Args:
        figure: a matplotlib figure.
        name: salt of the element ids, which have to differ between the figures of one page.
    """
    import matplotlib

    file = io.StringIO()
    with matplotlib.rc_context({**_SETTINGS, "svg.hashsalt": name}):
        figure.savefig(file, format="svg", facecolor="none", metadata={"Date": None, "Creator": None})
    return file.getvalue()


def inline(svg: str, variables: Mapping[str, str] = MappingProxyType({})) -> str:
    """An SVG file as an element of the page, whose colours are the page's variables.

    Args:
        svg: the file's text.
        variables: further colours, and what they become.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" role="img">', svg, count=1, flags=re.DOTALL)
    # matplotlib names groups alike in every figure, and nothing refers to them; ids of definitions are salted.
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    for colour, variable in {**_VARIABLES, **variables}.items():
        svg = svg.replace(colour, variable)
    return svg
