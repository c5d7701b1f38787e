"""All scores as arrays: a table of cases for each model, all in one order of cases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from nnunetv2_textguided.evaluation.cases import CaseInfo
from nnunetv2_textguided.evaluation.detection_metrics import Found
from nnunetv2_textguided.evaluation.metrics import OVERLAP
from nnunetv2_textguided.evaluation.score import CaseScores, Score
from nnunetv2_textguided.nnunet.variant import Variant


@dataclass(frozen=True)
class CaseTable:
    """Scores of one model on C cases.

    Attributes:
        infos: (C,) what is known about each case, sorted by its identifier.
        folds: (C,) the fold that validated each case; None where unknown.
        scores: class -> (C,) scores. Several classes are averaged.
    """

    infos: tuple[CaseInfo, ...]
    folds: np.ndarray
    scores: Mapping[str, tuple[Score, ...]]

    @property
    def cases(self) -> tuple[str, ...]:
        """(C,) case identifiers."""
        return tuple(info.case for info in self.infos)

    @cached_property
    def patients(self) -> tuple[str, ...]:
        """(C,) the patient of each case."""
        return tuple(info.patient for info in self.infos)

    @cached_property
    def overlap(self) -> Mapping[str, np.ndarray]:
        """Metric -> (C,); NaN where a case does not count. Several classes: the mean of those that count."""
        return {
            metric.name: _mean([[s.overlap[metric.name] for s in scores] for scores in self.scores.values()])
            for metric in OVERLAP
        }

    def found(self, chosen: np.ndarray | None = None) -> tuple[Found, ...]:
        """For each class, what was found (in the chosen cases)."""
        index = np.arange(len(self.infos)) if chosen is None else np.flatnonzero(chosen)
        return tuple(
            Found(tuple(scores[i].candidates for i in index), np.array([scores[i].score for i in index], float))
            for scores in self.scores.values()
        )

    @cached_property
    def reference_ml(self) -> np.ndarray:
        """(C,) volume of the reference, all classes together."""
        return np.sum([[score.reference_ml for score in scores] for scores in self.scores.values()], axis=0)

    @cached_property
    def predicted_ml(self) -> np.ndarray:
        """(C,) predicted volume, all classes together."""
        return np.sum([[score.predicted_ml for score in scores] for scores in self.scores.values()], axis=0)

    @cached_property
    def lesions(self) -> np.ndarray:
        """(C,) number of reference lesions, all classes together."""
        return np.sum([[len(score.lesions) for score in scores] for scores in self.scores.values()], axis=0)

    @property
    def first_class(self) -> tuple[Score, ...]:
        """(C,) scores of the first class."""
        return next(iter(self.scores.values()))

    def rows(self) -> Iterator[dict[str, Any]]:
        """The table of cases as it is written: a row per case."""
        scores = np.mean([[score.score for score in scores] for scores in self.scores.values()], axis=0)
        folds = self.folds.tolist()
        for i, info in enumerate(self.infos):
            yield {
                "fold": folds[i],
                "case": info.case,
                "patient": info.patient,
                "centre": info.centre,
                "ISUP": info.isup,
                "PI_RADS": info.pirads,
                "prediction": self.first_class[i].kind.name.lower(),
                "lesions": int(self.lesions[i]),
                "reference_ml": float(self.reference_ml[i]),
                "predicted_ml": float(self.predicted_ml[i]),
                **{name: float(values[i]) for name, values in self.overlap.items()},
                "score": float(scores[i]),
            }


@dataclass(frozen=True)
class Results:
    """Scores of V variants on the same C cases.

    Attributes:
        tables: variant, in the order in which they are reported -> its cases.
    """

    tables: Mapping[Variant, CaseTable]

    @property
    def variants(self) -> tuple[Variant, ...]:
        """In the order in which they are reported."""
        return tuple(self.tables)

    @property
    def cases(self) -> tuple[str, ...]:
        """(C,) case identifiers, sorted."""
        return self._first.cases

    @property
    def folds(self) -> np.ndarray:
        """(C,) the fold that validated each case."""
        return self._first.folds

    @property
    def infos(self) -> tuple[CaseInfo, ...]:
        """(C,) what is known about each case."""
        return self._first.infos

    @property
    def patients(self) -> tuple[str, ...]:
        """(C,) the patient of each case."""
        return self._first.patients

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that are scored (averaged, if several)."""
        return tuple(self._first.scores)

    @property
    def reference_ml(self) -> np.ndarray:
        """(C,) volume of the reference, all classes together."""
        return self._first.reference_ml

    @property
    def lesions(self) -> np.ndarray:
        """(C,) number of reference lesions, all classes together."""
        return self._first.lesions

    def found(self, variant: Variant, chosen: np.ndarray | None = None) -> tuple[Found, ...]:
        """For each class, what a variant found (in the chosen cases)."""
        return self.tables[variant].found(chosen)

    @cached_property
    def overlap(self) -> Mapping[str, Mapping[Variant, np.ndarray]]:
        """Metric -> variant -> (C,); NaN where a case does not count."""
        return {metric.name: {v: table.overlap[metric.name] for v, table in self.tables.items()} for metric in OVERLAP}

    @cached_property
    def without_probabilities(self) -> Mapping[Variant, int]:
        """Variant -> cases of which only the mask was saved, if there are any."""
        counts = {
            variant: sum(not score.kind.has_probabilities for score in table.first_class)
            for variant, table in self.tables.items()
        }
        return {variant: count for variant, count in counts.items() if count}

    @property
    def detection_comparable(self) -> bool:
        """Whether all variants have confidences in all cases, or none has in any."""
        counts = {self.without_probabilities.get(variant, 0) for variant in self.variants}
        return counts in ({0}, {len(self.cases)})

    @property
    def _first(self) -> CaseTable:
        return next(iter(self.tables.values()))


def build_table(
    model: str, infos: Mapping[str, CaseInfo], folds: Mapping[str, int | None], scores: Mapping[str, CaseScores]
) -> CaseTable:
    """One model's scores in order.

    Args:
        model: its name in `scores`.
        infos: case -> what is known about it.
        folds: case -> fold.
        scores: case -> model -> class -> score.
    """
    cases = sorted(infos)
    return CaseTable(
        infos=tuple(infos[case] for case in cases),
        folds=np.array([folds.get(case) for case in cases]),
        scores={name: tuple(scores[case][model][name] for case in cases) for name in scores[cases[0]][model]},
    )


def build_results(
    variants: Sequence[Variant],
    folds: Mapping[str, int],
    infos: Mapping[str, CaseInfo],
    scores: Mapping[str, CaseScores],
) -> Results:
    """All variants' scores in order; see `build_table`."""
    return Results({variant: build_table(variant.name, infos, folds, scores) for variant in variants})


def _mean(values: list[list[float]]) -> np.ndarray:
    """(K, C) -> (C,) mean of what counts; NaN where nothing does."""
    array = np.array(values, dtype=float)
    counts = np.isfinite(array)
    number = counts.sum(axis=0)
    total = np.where(counts, array, 0).sum(axis=0)
    return np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)
