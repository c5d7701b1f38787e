"""The numbers that a benchmark reports: their names, their direction, and how they are written."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nnunetv2_textguided.evaluation.conventions import OVERLAP_METRICS

FALSE_POSITIVES_PER_CASE = (0.5, 1.0, 2.0)
DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Metric:
    """One number per variant.

    Attributes:
        name: as in files.
        title: as in tables and on axes.
        per_case: whether it is a mean over cases; detection metrics are of all cases together.
        higher_is_better: its direction.
        digits: decimals that are shown.
    """

    name: str
    title: str
    per_case: bool = True
    higher_is_better: bool = True
    digits: int = 3

    def text(self, value: float, sign: bool = False) -> str:
        """The value for a table: a real minus sign, a dash where it is undefined."""
        if not math.isfinite(value):
            return DASH
        value = 0.0 if round(value, self.digits) == 0 else value  # no "-0.000"
        return f"{value:{'+' if sign and value else ''}.{self.digits}f}".replace("-", MINUS)

    @property
    def unit_interval(self) -> bool:
        """Whether it is a number between 0 and 1, not a distance."""
        return self.name != "hd95"

    def gain(self, difference: float) -> float:
        """A difference turned so that positive is better."""
        return difference if self.higher_is_better else -difference


_TITLES = {
    "dice": "Dice",
    "hd95": "HD95 [mm]",
    "nsd_1mm": "NSD at 1 mm",
    "nsd_2mm": "NSD at 2 mm",
    "precision": "Precision",
    "recall": "Recall",
}


def sensitivity_name(rate: float) -> str:
    """Name of the lesion sensitivity at a number of false positives per case."""
    return f"sensitivity_at_{rate:g}_fp"


OVERLAP = tuple(
    Metric(name, title, higher_is_better=name != "hd95", digits=2 if name == "hd95" else 3)
    for name, title in _TITLES.items()
)
DETECTION = (
    Metric("auroc", "AUROC", per_case=False),
    Metric("ap", "AP", per_case=False),
    *(
        Metric(sensitivity_name(rate), f"Sensitivity at {rate:g} FP/case", per_case=False)
        for rate in FALSE_POSITIVES_PER_CASE
    ),
)
METRICS = {metric.name: metric for metric in (*OVERLAP, *DETECTION)}

if set(OVERLAP_METRICS) != {metric.name for metric in OVERLAP}:
    raise ImportError("the metrics of the evaluation and of the benchmark are not the same")
