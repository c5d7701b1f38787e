"""All scores of a benchmark as arrays, in one order of variants and cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nnunetv2_textguided.benchmark.study import Variant
from nnunetv2_textguided.evaluation.cases import CaseInfo
from nnunetv2_textguided.evaluation.metrics import OVERLAP
from nnunetv2_textguided.evaluation.score import CaseScores, Score
from nnunetv2_textguided.evaluation.statistics.detection_weightings import Found


@dataclass(frozen=True)
class Results:
    """Scores of V variants on C cases.

    Attributes:
        variants: in the order in which they are reported.
        cases: case identifiers, sorted.
        folds: (C,) the fold that validated each case.
        infos: (C,) what is known about each case.
        classes: names of the classes that are scored (averaged, if several).
        scores: variant -> class -> (C,) scores.
    """

    variants: tuple[Variant, ...]
    cases: tuple[str, ...]
    folds: np.ndarray
    infos: tuple[CaseInfo, ...]
    classes: tuple[str, ...]
    scores: Mapping[Variant, Mapping[str, tuple[Score, ...]]]

    @cached_property
    def patients(self) -> tuple[str, ...]:
        """(C,) the patient of each case."""
        return tuple(info.patient for info in self.infos)

    @cached_property
    def overlap(self) -> Mapping[str, Mapping[Variant, np.ndarray]]:
        """Metric -> variant -> (C,); NaN where a case does not count. Several classes: the mean of those that count."""
        return {
            metric.name: {
                variant: _mean([[s.overlap[metric.name] for s in scores] for scores in by_class.values()])
                for variant, by_class in self.scores.items()
            }
            for metric in OVERLAP
        }

    def found(self, variant: Variant, chosen: np.ndarray | None = None) -> tuple[Found, ...]:
        """For each class, what a variant found (in the chosen cases)."""
        index = np.arange(len(self.cases)) if chosen is None else np.flatnonzero(chosen)
        return tuple(
            Found(tuple(scores[i].candidates for i in index), np.array([scores[i].score for i in index], float))
            for scores in self.scores[variant].values()
        )

    @cached_property
    def reference_ml(self) -> np.ndarray:
        """(C,) volume of the reference, all classes together."""
        return np.array([[s.reference_ml for s in scores] for scores in self._first.values()]).sum(axis=0)

    def predicted_ml(self, variant: Variant) -> np.ndarray:
        """(C,) predicted volume, all classes together."""
        return np.array([[s.predicted_ml for s in scores] for scores in self.scores[variant].values()]).sum(axis=0)

    @cached_property
    def lesions(self) -> np.ndarray:
        """(C,) number of reference lesions, all classes together."""
        return np.array([[len(s.lesions) for s in scores] for scores in self._first.values()]).sum(axis=0)

    @cached_property
    def without_probabilities(self) -> Mapping[Variant, int]:
        """Variant -> cases of which only the mask was saved, if there are any."""
        counts = {
            variant: int(sum(not score.probabilities for score in next(iter(by_class.values()))))
            for variant, by_class in self.scores.items()
        }
        return {variant: count for variant, count in counts.items() if count}

    @property
    def detection_comparable(self) -> bool:
        """Whether all variants have confidences in all cases, or none has in any."""
        counts = {self.without_probabilities.get(variant, 0) for variant in self.variants}
        return counts in ({0}, {len(self.cases)})

    @property
    def _first(self) -> Mapping[str, tuple[Score, ...]]:
        return self.scores[self.variants[0]]


def build_results(
    variants: Sequence[Variant],
    folds: Mapping[str, int],
    infos: Mapping[str, CaseInfo],
    scores: Mapping[str, CaseScores],
) -> Results:
    """Put the scores in order.

    Args:
        variants: those to report.
        folds: case -> fold.
        infos: case -> what is known about it.
        scores: case -> variant's name -> class -> score.
    """
    cases = tuple(sorted(folds))
    classes = tuple(next(iter(scores[cases[0]].values())))
    return Results(
        variants=tuple(variants),
        cases=cases,
        folds=np.array([folds[case] for case in cases]),
        infos=tuple(infos[case] for case in cases),
        classes=classes,
        scores={
            variant: {name: tuple(scores[case][variant.name][name] for case in cases) for name in classes}
            for variant in variants
        },
    )


def _mean(values: list[list[float]]) -> np.ndarray:
    """(K, C) -> (C,) mean of what counts; NaN where nothing does."""
    array = np.array(values, dtype=float)
    counts = np.isfinite(array)
    number = counts.sum(axis=0)
    total = np.where(counts, array, 0).sum(axis=0)
    return np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)
