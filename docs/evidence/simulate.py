"""The simulation in docs/benchmark_report.md: how often the difference of two models is misjudged, and found.

    python docs/evidence/simulate.py [--studies 3000]

Two methods are trained R times on each of F folds, on which 85 patients each are validated. A patient's values of the
two methods differ by chance in a single training (SD 0.0775 each) and, always, by how the methods suit the patient (SD
0.07): over one training each that is an SD of 0.13. Every training is as a whole better or worse by chance; in
"unequal" rows by twice as much on the first fold. In the second table the methods, equal on the whole, truly differ
from fold to fold. Both tables are written between the page's markers.
"""

from __future__ import annotations

import argparse
import itertools
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnunetv2_textguided.evaluation.difference import Difference
from nnunetv2_textguided.evaluation.power import power
from nnunetv2_textguided.evaluation.trainings import Fold, mean_trainings
from nnunetv2_textguided.files import write_text

PAGE = Path(__file__).parents[1] / "benchmark_report.md"
MARKERS = ("<!-- simulation: begin -->", "<!-- simulation: end -->")
PATIENTS = 85
SD_PATIENT, SD_SINGLE = 0.07, 0.0775
EFFECTS = (0.03, 0.05)


@dataclass(frozen=True)
class Design:
    """Studies of one kind.

    Attributes:
        folds, repeats: F and R.
        spread: SD between trainings of one method.
        unequal: whether it is doubled on the first fold.
        interaction: SD between folds of the methods' true difference, whose mean is 0.
    """

    folds: int
    repeats: int
    spread: float
    unequal: bool
    interaction: float = 0.0

    @property
    def spreads(self) -> np.ndarray:
        """(F,) SD between trainings."""
        return np.array([self.spread * (1 + (self.unequal and fold == 0)) for fold in range(self.folds)])

    @property
    def variance(self) -> float:
        """The true variance of the difference."""
        patients = (SD_PATIENT**2 + 2 * SD_SINGLE**2 / self.repeats) / (PATIENTS * self.folds)
        trainings = 2 * float((self.spreads**2).sum()) / self.repeats / self.folds**2
        return patients + trainings + self.interaction**2 / self.folds

    @property
    def freedom(self) -> float | None:
        """About how many degrees of freedom patients and trainings give."""
        return 2 * self.folds * (self.repeats - 1) + PATIENTS if self.repeats > 1 else None

    def study(self, random: np.random.Generator, effect: float = 0.0) -> Difference:
        """One study."""
        patients = np.arange(PATIENTS)
        folds = []
        for fold, spread in enumerate(self.spreads):
            suits = random.normal(0, SD_PATIENT, PATIENTS) / 2
            if self.interaction:
                suits += random.normal(0, self.interaction) / 2

            def train(sign: int, suits: np.ndarray = suits, spread: float = spread) -> np.ndarray:
                whole = random.normal(0, spread, (self.repeats, 1))
                single = random.normal(0, SD_SINGLE, (self.repeats, PATIENTS))
                return 0.5 + sign * (suits + effect / 2) + whole + single

            folds.append(Fold(fold, PATIENTS, *(mean_trainings(train(sign), patients) for sign in (1, -1))))
        return Difference(tuple(folds))


@dataclass(frozen=True)
class Row:
    """What became of a design's studies, as shares.

    Attributes:
        false: identical methods are called different.
        covered: the interval holds the true difference.
        found: each effect of EFFECTS is called one in its direction.
        expected: what theory says of `found`.
        patients_only: identical methods are called different by an interval over patients alone.
    """

    false: float
    covered: float
    found: tuple[float, ...]
    expected: tuple[float, ...]
    patients_only: float


def simulate(design: Design, studies: int) -> Row:
    """Simulate studies of a design; the same numbers each time."""
    random = np.random.default_rng([design.folds, design.repeats, round(1000 * design.spread), int(design.unequal),
                                    *([round(1000 * design.interaction)] if design.interaction else [])])  # fmt: skip
    made = [design.study(random) for _ in range(studies)]
    low, high = np.array([study.ends for study in made]).T
    by_patients = np.array([study.ends_over_patients for study in made]).T
    covered = float(((low <= 0) & (high >= 0)).mean())
    # The same errors around a true effect move the interval, and nothing else.
    found = tuple(float((low + effect > 0).mean()) for effect in EFFECTS)
    expected = tuple(power(effect, design.variance, design.folds, design.freedom) for effect in EFFECTS)
    p = np.array([study.p for study in made])
    alone = float(((by_patients[0] > 0) | (by_patients[1] < 0)).mean())
    return Row(float((p < 0.05).mean()), covered, found, expected, alone)


def designs() -> list[Design]:
    """All rows of the table."""
    spreads = (0.0, 0.005, 0.01, 0.02, 0.03)
    made = itertools.product((5, 3), (1, 2, 3), spreads, (False, True))
    return [Design(*choice) for choice in made if choice[2] or not choice[3]]


def designs_of_folds() -> list[Design]:
    """All rows of the second table."""
    return [Design(5, repeats, spread, False, interaction)
            for repeats in (1, 2, 3) for spread in (0.01, 0.02) for interaction in (0.01, 0.02, 0.03)]  # fmt: skip


def line_of_folds(design: Design, row: Row) -> str:
    """A row of the second table."""
    cells = [f"{design.folds}", f"{design.repeats}", f"{design.spread:g}", f"{design.interaction:g}"]
    cells += [f"{row.false:.1%}", f"{row.covered:.1%}", f"{row.patients_only:.0%}"]
    return f"| {' | '.join(cells)} |"


def line(design: Design, row: Row) -> str:
    """A row of the table."""
    cells = [f"{design.folds}", f"{design.repeats}", f"{design.spread:g}{', unequal' if design.unequal else ''}"]
    cells += [f"{row.false:.1%}", f"{row.covered:.1%}", f"{row.patients_only:.0%}"]
    cells += [f"{found:.0%} ({expected:.0%})" for found, expected in zip(row.found, row.expected, strict=True)]
    return f"| {' | '.join(cells)} |"


HEAD = (
    "| folds | repeats | SD of trainings | false verdicts | 95 % interval covers | false over patients alone "
    "| +0.03 found (theory) | +0.05 found (theory) |\n|---|---|---|---|---|---|---|---|"
)


HEAD_OF_FOLDS = (
    "| folds | repeats | SD of trainings | SD of the true difference between folds | false verdicts "
    "| 95 % interval covers | false over patients alone |\n|---|---|---|---|---|---|---|"
)


def main() -> None:
    """Write the table into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=3000, help="per row (default: %(default)s)")
    studies = parser.parse_args().studies
    rows = [line(design, simulate(design, studies)) for design in designs()]
    begin, end = MARKERS
    of_folds = [line_of_folds(design, simulate(design, studies)) for design in designs_of_folds()]
    between = "\nThe methods are equal on the whole and truly differ from fold to fold:\n"
    text = "\n".join([begin, f"{studies} studies per row.\n", HEAD, *rows, between, HEAD_OF_FOLDS, *of_folds, end])
    page, places = re.subn(f"{begin}.*{end}", lambda _: text, PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    if places != 1:
        raise SystemExit(f"{PAGE} lacks the markers {begin} and {end}")
    write_text(PAGE, page)


if __name__ == "__main__":
    main()
