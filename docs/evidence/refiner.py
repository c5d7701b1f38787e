"""What the refiner gives: on against off in the same trained networks, and against a cut of the same maps.

    python docs/evidence/refiner.py

Reads refiner.csv: of each validation case of ten trainings (five folds, two repeats) the mask of the network before its
refiner, cut at twelve probabilities ("cut 0.5" is nnU-Net's own), and the refined one ("refined"). Prints the rows of
docs/refiner_designs.md. A cut is fitted on the cases of the same repeat's other folds: to the highest mean of a metric
on positives, less a price for each mL of false volume in the mean negative.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from nnunetv2_textguided.evaluation.cases import patient_of
from nnunetv2_textguided.evaluation.difference import Difference
from nnunetv2_textguided.evaluation.options import PRICE
from nnunetv2_textguided.evaluation.trainings import folds_of_means

TABLE = Path(__file__).with_suffix(".csv")
OFF, ON = "cut 0.5", "refined"
METRICS = {"dice": "Dice", "nsd": "NSD 2 mm", "hd95": "HD95 (mm)"}


class Study:
    """The table, by training."""

    def __init__(self, rows: pd.DataFrame) -> None:
        self.rows = rows.set_index(["repeat", "fold", "what"]).sort_index()
        self.trainings = sorted(rows[["repeat", "fold"]].drop_duplicates().itertuples(index=False, name=None))
        self.repeats = sorted({repeat for repeat, _ in self.trainings})
        first = rows[(rows.what == OFF)].drop_duplicates("case")
        self.cases, self.folds = list(first.case), first.fold.to_numpy()
        self.positive = first.positive.to_numpy(dtype=bool)

    def values(self, what: Callable[[int, int], str], column: str) -> np.ndarray:
        """(repeats, cases) of a column, of the mask that `what` says for each training."""
        made = pd.DataFrame(np.nan, self.repeats, self.cases)
        for repeat, fold in self.trainings:
            found = self.rows.loc[(repeat, fold, what(repeat, fold))].set_index("case")[column]
            made.loc[repeat, found.index] = found.to_numpy()
        return made.to_numpy()

    def fitted(self, metric: str, price: float) -> Callable[[int, int], str]:
        """The best cut on the other folds of the same repeat."""

        def best(repeat: int, fold: int) -> str:
            others = self.rows.loc[repeat].reset_index()
            others = others[(others.fold != fold) & others.what.str.startswith("cut")]
            gain = others[others.positive].groupby("what")[metric].mean()
            return str((gain - price * others[~others.positive].groupby("what").volume_ml.mean()).idxmax())

        return best

    def difference(
        self, of: Callable[[int, int], str], minus: Callable[[int, int], str], column: str, positives: bool
    ) -> Difference:
        """Over patients and trainings: of one training, both masks are of the same network."""
        ours, theirs = (np.where(self.positive == positives, self.values(one, column), np.nan) for one in (of, minus))
        patients = [patient_of(case) for case in self.cases]
        return Difference(tuple(folds_of_means(ours, theirs, self.folds, patients, same=True)))


def rows() -> list[str]:
    """The page's rows."""
    study = Study(pd.read_csv(TABLE))
    fixed = {name: (lambda repeat, fold, name=name: name) for name in (OFF, ON)}
    named = {
        "refined minus off": (fixed[ON], fixed[OFF]),
        "cut for Dice minus off": (study.fitted("dice", 0), fixed[OFF]),
        "cut for Dice at the price minus off": (study.fitted("dice", PRICE), fixed[OFF]),
        "cut for NSD at the price minus off": (study.fitted("nsd", PRICE), fixed[OFF]),
        "refined minus cut for Dice": (fixed[ON], study.fitted("dice", 0)),
        "refined minus cut for Dice at the price": (fixed[ON], study.fitted("dice", PRICE)),
        "refined minus cut for NSD at the price": (fixed[ON], study.fitted("nsd", PRICE)),
    }
    made = []
    for name, (of, minus) in named.items():
        found = [study.difference(of, minus, metric, True) for metric in METRICS]
        found.append(study.difference(of, minus, "volume_ml", False))
        cells = [f"{one.value:+.3f} [{one.ends.low:+.3f}, {one.ends.high:+.3f}]" for one in found]
        made.append(f"| {name} | {' | '.join(cells)} |")
    return made


def edits() -> str:
    """How many of the refiner's edits are right."""
    table = pd.read_csv(TABLE)
    on = table[table.what == ON]
    shares = [one.right.sum() / (one.added.sum() + one.removed.sum()) for _, one in on.groupby(["repeat", "fold"])]
    added, removed = int(on.added.sum()), int(on.removed.sum())
    return (
        f"{on.right.sum() / (added + removed):.1%} of its edits are right ({min(shares):.0%} to {max(shares):.0%} by "
        f"network): {added} voxels added, {removed} removed"
    )


if __name__ == "__main__":
    print("\n".join(rows()))
    print(edits())
