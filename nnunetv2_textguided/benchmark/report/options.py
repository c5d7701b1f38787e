"""How a benchmark is evaluated: every choice that changes a number, in one place, printed in the report."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from nnunetv2_textguided.evaluation.options import PRICE, Resampling, Scoring


@dataclass(frozen=True)
class ReportOptions(Resampling):
    """What is compared with what, and how.

    Attributes:
        scoring: of each case.
        label: the class that is scored; None: see classes.choose_targets.
        baseline: trainer that the others are compared with; None: the first one.
        primary: metric of the forest plot, of the worst cases and of the verdict.
        equal: "plans" or "compute": what the variants are meant to have in common; checked and printed.
        allow_incomplete: compare what there is.
        cases: a cases.csv; None: the data set's own, if there is one. A path named "none" means: without.
        volume_edges: limits in mL between groups of lesion volume; empty: terciles.
        price: in Dice, of each mL of false volume where thresholds are fitted; see thresholds.py.
        pictures: number of worst cases that are shown; as many gains and losses against the baseline.
        pdf: also write every figure as PDF.
        jobs: worker processes.
    """

    scoring: Scoring = field(default_factory=Scoring)
    label: str | None = None
    baseline: str | None = None
    primary: str = "dice"
    equal: str = "plans"
    allow_incomplete: bool = False
    cases: Path | None = None
    volume_edges: tuple[float, ...] = ()
    price: float = PRICE
    pictures: int = 4
    pdf: bool = False
    jobs: int = 1
