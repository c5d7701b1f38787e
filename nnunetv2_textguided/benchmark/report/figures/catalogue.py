"""All figures of a report, in its order, and the sentence that says how to read each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nnunetv2_textguided.benchmark.report.analysis import Analysis
from nnunetv2_textguided.benchmark.report.figures.calibration import draw_calibration, draw_decision
from nnunetv2_textguided.benchmark.report.figures.convergence import draw_convergence
from nnunetv2_textguided.benchmark.report.figures.detection import draw_detection
from nnunetv2_textguided.benchmark.report.figures.distribution import draw_distribution
from nnunetv2_textguided.benchmark.report.figures.forest import draw_forest, draw_verdict
from nnunetv2_textguided.benchmark.report.figures.scatter import draw_scatter
from nnunetv2_textguided.benchmark.report.figures.subgroups import draw_subgroups
from nnunetv2_textguided.benchmark.report.figures.thresholds import draw_thresholds
from nnunetv2_textguided.benchmark.report.figures.volume import draw_volume


@dataclass(frozen=True)
class FigureKind:
    """One figure.

    Attributes:
        name: of its files and of its place in the page.
        reading: how to read it; {baseline}, {primary}, {headline} are filled in.
        draw: makes it; None where there is nothing to draw.
    """

    name: str
    reading: str
    draw: Callable[[Analysis], Any | None]


FIGURES = (
    FigureKind(
        "verdict",
        "Thin line: interval over patients and trainings. Thick: over patients alone. Filled: shown, after Holm's "
        "correction over these comparisons, too.",
        draw_verdict,
    ),
    FigureKind(
        "forest",
        "Mean differences to {baseline}. Thin line: interval over patients and trainings. Thick: over patients alone, "
        "as if another training would give the same. Filled: the first excludes 0, after Holm's correction over the "
        "variants, too. Hollow: not shown to differ.",
        draw_forest,
    ),
    FigureKind("distribution", "Every case that counts.", draw_distribution),
    FigureKind(
        "scatter",
        "Every point is a case; above the line it is better segmented than by {baseline} (for distances: below).",
        draw_scatter,
    ),
    FigureKind(
        "thresholds",
        "Means over cases and repeats, before any post-processing. Points: the thresholds that the other folds fit. "
        "Dotted: 0.5, where nnU-Net cuts.",
        draw_thresholds,
    ),
    FigureKind(
        "detection",
        "Lesion candidates against lesions, as PI-CAI counts them. Shaded: bootstrap intervals of {headline} and of "
        "{baseline}.",
        draw_detection,
    ),
    FigureKind(
        "calibration",
        "Bins of equally many cases, all repeats. Bars: Wilson's intervals of {headline} and of {baseline}. Dotted: a "
        "calibrated probability.",
        draw_calibration,
    ),
    FigureKind(
        "decision",
        "Net benefit by the cross-fitted likelihood, mean over repeats. Shaded: bootstrap intervals over patients of "
        "{headline} and of {baseline}.",
        draw_decision,
    ),
    FigureKind("volume", "Smoothed over cases; points: cases of {headline} and of {baseline}.", draw_volume),
    FigureKind("subgroups", "{primary} with bootstrap intervals over patients.", draw_subgroups),
    FigureKind("convergence", "Mean over folds; shaded: lowest to highest fold.", draw_convergence),
)


def reading(kind: FigureKind, analysis: Analysis) -> str:
    """How to read a figure of this report."""
    names = analysis.names
    return kind.reading.format(
        baseline=names[analysis.baseline], primary=analysis.primary.title, headline=names[analysis.headline]
    )
