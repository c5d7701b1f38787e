"""Tables of cases in files, and the differences of the models in them.

Read are `per_case.csv` of `benchmark report` and any CSV with the columns COLUMNS: a row per model, repeat and case.
Three columns may be there. `curve` has the voxels at each threshold (thresholds.py), `candidates` what was found of the
lesions (lesion_matching.py); of several classes divided by ";". `networks` names a row's trained networks: models of
the same networks (with and without a sentence, say) are compared within each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.evaluation.detection_metrics import Found, detection
from nnunetv2_textguided.evaluation.difference import Difference
from nnunetv2_textguided.evaluation.lesion_matching import results_of_text
from nnunetv2_textguided.evaluation.options import PRICE
from nnunetv2_textguided.evaluation.threshold_comparison import (
    ModelAtThresholds,
    ThresholdComparison,
    at_thresholds,
    compare_at_thresholds,
)
from nnunetv2_textguided.evaluation.thresholds import Curve, curve_of_text, stack
from nnunetv2_textguided.evaluation.trainings import Statistic, folds_of_means, folds_of_statistics

if TYPE_CHECKING:
    from pandas import DataFrame

CURVE, CANDIDATES, NETWORKS = "curve", "candidates", "networks"
COLUMNS = ("model", "repeat", "fold", "patient", "case", "lesions", "dice", "score")
MEANS = ("dice", "missed")
METRICS = {"dice": "Dice", "missed": "missed", "auroc": "AUROC", "ap": "AP of cases", "ap_lesions": "AP of lesions"}
HIT = 0.1
"""A lesion whose Dice is below this counts as missed."""


@dataclass(frozen=True)
class CaseFile:
    """All trainings of all models.

    Attributes:
        rows: the columns of COLUMNS; CURVE and CANDIDATES: NaN where they are not known; NETWORKS: the model where
            not said.
        price: of false volume, where thresholds are fitted.
    """

    rows: DataFrame
    price: float = PRICE

    @property
    def models(self) -> list[str]:
        """Their names."""
        return sorted(self.rows["model"].unique())

    def trainings(self, model: str) -> int:
        """How many there are of a model."""
        own = self.rows[self.rows["model"] == model]
        return len(own[["fold", "repeat"]].drop_duplicates())

    def repeats(self, *models: str) -> list[str]:
        """Names of the repeats that any of these models has; without models, of all."""
        own = self.rows[self.rows["model"].isin(models)] if models else self.rows
        return sorted(own["repeat"].unique())

    def of_repeat(self, repeat: str) -> CaseFile:
        """The trainings of one repeat alone."""
        return CaseFile(self.rows[self.rows["repeat"] == repeat], self.price)

    def values(self, model: str, metric: str) -> tuple[float, float]:
        """A model's metric, the mean over folds (by their cases) and repeats; and the SD between trainings (NaN: none).

        AUROC and AP are taken within each training. Both are NaN where nothing is known.
        """
        found = self.difference(model, model, metric)
        if not found.folds:
            return float("nan"), float("nan")
        repeated = [fold.model for fold in found.folds if fold.model.repeats > 1]
        freedom = sum(cell.repeats - 1 for cell in repeated)
        spread = sum(cell.spread * (cell.repeats - 1) for cell in repeated) / freedom if freedom else float("nan")
        return float(found.weights @ [fold.model.values.mean() for fold in found.folds]), spread**0.5

    def difference(self, model: str, baseline: str, metric: str, level: float = 0.95) -> Difference:
        """Model minus baseline on the folds that both have.

        Raises:
            DataError: a model is not in the file.
        """
        cases, folds, patients = self._cases(model, baseline)
        repeats, same = self.repeats(model, baseline), self.same_networks(model, baseline)
        tables = [self._table(name, cases.index.to_list(), repeats) for name in (model, baseline)]
        if metric in MEANS:
            ours, theirs = (_missed(dice) if metric == "missed" else dice for dice, _ in tables)
            return Difference(tuple(folds_of_means(ours, theirs, folds, patients, same)), level)
        positive = cases["lesions"].to_numpy() > 0
        if metric == "ap_lesions":
            found = (self._pivot(name, CANDIDATES, cases.index.to_list(), repeats) for name in (model, baseline))
            statistics = [[_of_lesions(row) for row in table.to_numpy()] for table in found]
        else:
            statistics = [[_statistic(row, positive, metric) for row in score] for _, score in tables]
        return Difference(tuple(folds_of_statistics(statistics[0], statistics[1], folds, patients, same)), level)

    def at_thresholds(self, model: str, baseline: str, level: float = 0.95) -> ThresholdComparison:
        """Model minus baseline at 0.5, at thresholds fitted on the other folds, and by voxels' average precision.

        Raises:
            DataError: a model is not in the file.
        """
        cases, folds, patients = self._cases(model, baseline)
        repeats, identifiers = self.repeats(model, baseline), cases.index.to_list()
        ours, theirs = (self._at_thresholds(name, identifiers, repeats, folds) for name in (model, baseline))
        return compare_at_thresholds(ours, theirs, patients, level, self.same_networks(model, baseline))

    def same_networks(self, model: str, baseline: str) -> bool:
        """Whether two models are the same trained networks under two names."""
        if model == baseline:
            return False
        own = (self.rows[self.rows["model"] == name].drop_duplicates("repeat") for name in (model, baseline))
        ours, theirs = (dict(zip(rows["repeat"], rows[NETWORKS], strict=True)) for rows in own)
        both = ours.keys() & theirs.keys()
        return bool(both) and all(ours[repeat] == theirs[repeat] for repeat in both)

    def _at_thresholds(self, model: str, cases: list[str], repeats: list[str], folds: np.ndarray) -> ModelAtThresholds:
        table = self._pivot(model, CURVE, cases, repeats).astype(object).fillna("")
        texts = [[text.split(";") if text else [] for text in row] for row in table.to_numpy()]
        classes = max((len(parts) for row in texts for parts in row), default=0) or 1
        curves: list[list[list[Curve | None]]] = [
            [[curve_of_text(parts[k]) if parts else None for parts in row] for k in range(classes)] for row in texts
        ]
        return at_thresholds(stack(curves), folds, self.price)

    def _cases(self, *models: str) -> tuple[DataFrame, np.ndarray, list[str]]:
        """The models' cases by identifier, their folds and patients."""
        for name in models:
            if name not in self.models:
                raise DataError(f"There is no model {name!r}.", where="the tables of cases",
                                remedy=f"Choose of {', '.join(self.models)}.")  # fmt: skip
        both = self.rows[self.rows["model"].isin(models)]
        cases = both.drop_duplicates("case").set_index("case").sort_index()
        return cases, cases["fold"].to_numpy(), [str(patient) for patient in cases["patient"]]

    def _table(self, model: str, cases: list[str], repeats: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Dice, NaN without a lesion, and confidence (R, C); NaN in repeats that the model does not have."""
        dice, score = (self._pivot(model, of, cases, repeats).to_numpy(dtype=float) for of in ("dice", "score"))
        return dice, score

    def _pivot(self, model: str, column: str, cases: list[str], repeats: list[str]) -> DataFrame:
        own = self.rows[self.rows["model"] == model]
        table = own.pivot(index="repeat", columns="case", values=column)
        return table.reindex(index=repeats, columns=cases)


def read_case_files(files: Sequence[Path], where: dict[str, str] | None = None, price: float = PRICE) -> CaseFile:
    """Read tables of cases.

    Args:
        files: CSV files. Those of `benchmark report` name a model by trainer and plans. `repetition` means `repeat`.
        where: keep the rows whose columns have these values.
        price: of false volume, where thresholds are fitted.

    Raises:
        DataError: a file is unreadable, a column is missing, or a training has a case twice.
    """
    import pandas as pd

    tables = []
    for file in files:
        try:
            table = pd.read_csv(file)
        except (OSError, ValueError) as error:
            raise DataError(f"The table of cases cannot be read: {error}.", where=file) from error
        for column, value in (where or {}).items():
            if column not in table:
                raise DataError(f"The table of cases has no column {column!r}.", where=file, remedy="Check --where.")
            table = table[table[column].astype(str) == value]
        tables.append(_named(table, file))
    rows = pd.concat(tables, ignore_index=True)
    twice = rows[rows.duplicated(["model", "repeat", "case"])]
    if len(twice):
        first = twice.iloc[0]
        raise DataError(
            f"Case {first['case']} of {first['model']}, repeat {first['repeat']}, is there twice.",
            where=", ".join(map(str, files)),
            remedy="Name repetitions apart in the column `repeat`, or choose rows with --where.",
        )
    return CaseFile(rows, price)


def _named(table: DataFrame, file: Path) -> DataFrame:
    table = table.rename(columns={"repetition": "repeat"})
    if "model" not in table and {"trainer", "plans"} <= set(table):
        table = table.assign(model=table["trainer"] + "__" + table["plans"])
    if "patient" not in table and "case" in table:
        table = table.assign(patient=table["case"].astype(str).str.split("_").str[0])
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise DataError(f"The table of cases has no column {', '.join(missing)}.", where=file)
    for column, read in ((CURVE, curve_of_text), (CANDIDATES, results_of_text)):
        texts = table[column].astype(object) if column in table else np.nan
        table = table.assign(**{column: texts})
        try:
            for text in table[column].dropna():
                _ = [read(part) for part in text.split(";")]
        except (AttributeError, ValueError) as error:
            remedy = "Make the table again with this version's `benchmark report`."
            raise DataError(f"The column {column!r} cannot be read: {error}.", where=file, remedy=remedy) from error
    networks = table[NETWORKS].fillna(table["model"]) if NETWORKS in table else table["model"]
    texts = dict.fromkeys(("model", "repeat", "case", NETWORKS), str)
    return table.assign(**{NETWORKS: networks})[[*COLUMNS, CURVE, CANDIDATES, NETWORKS]].astype(texts)


def _missed(dice: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(dice), (dice < HIT).astype(float), np.nan)


def _of_lesions(texts: np.ndarray) -> Statistic:
    """AP of lesions, the mean over classes, of a repeat's candidates (C,) as text; NaN where they are not known."""

    def statistic(cases: np.ndarray, weights: np.ndarray) -> np.ndarray:
        if not all(isinstance(text, str) for text in texts[cases]):
            return np.full(len(weights), np.nan)
        by_class = zip(*(text.split(";") for text in texts[cases]), strict=True)
        found = (Found(tuple(map(results_of_text, of_class)), np.zeros(len(cases))) for of_class in by_class)
        return np.mean([detection(one, weights, ["ap"])["ap"] for one in found], axis=0)

    return statistic


def _statistic(score: np.ndarray, positive: np.ndarray, metric: str) -> Statistic:
    def statistic(cases: np.ndarray, weights: np.ndarray) -> np.ndarray:
        if not np.isfinite(score[cases]).all():
            return np.full(len(weights), np.nan)  # no training on this fold
        candidates = tuple(((int(positive[i]), float(score[i]), 0.0),) for i in cases)
        return detection(Found(candidates, score[cases]), weights, [metric])[metric]

    return statistic
