"""All scores as arrays: a table of cases for each variant, all in one order of cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from nnunetv2_textguided.evaluation.cases import CaseInfo
from nnunetv2_textguided.evaluation.detection_metrics import Found
from nnunetv2_textguided.evaluation.lesion_matching import results_as_text
from nnunetv2_textguided.evaluation.metrics import OVERLAP
from nnunetv2_textguided.evaluation.score import CaseScores, Score
from nnunetv2_textguided.evaluation.thresholds import Curves, curves_as_text, mean_of_finite, stack
from nnunetv2_textguided.nnunet.variant import Variant, split_repeat


@dataclass(frozen=True)
class CaseTable:
    """Scores of the R repeats of one variant, in K classes, on C cases.

    Attributes:
        infos: (C,) what is known about each case, sorted by its identifier.
        folds: (C,) the fold that validated each case; None where unknown.
        repeats, networks: (R,) their numbers, and names of their trained networks (empty: not known).
        scores: (R,) of each repeat, class -> (C,) scores. Several classes are averaged.
    """

    infos: tuple[CaseInfo, ...]
    folds: np.ndarray
    repeats: tuple[int, ...]
    scores: tuple[Mapping[str, tuple[Score, ...]], ...]
    networks: tuple[str, ...] = ()

    @property
    def cases(self) -> tuple[str, ...]:
        """(C,) case identifiers."""
        return tuple(info.case for info in self.infos)

    @cached_property
    def patients(self) -> tuple[str, ...]:
        """(C,) the patient of each case."""
        return tuple(info.patient for info in self.infos)

    @property
    def classes(self) -> tuple[str, ...]:
        """(K,) names of the classes."""
        return tuple(self.scores[0])

    @cached_property
    def overlap_of_repeats(self) -> Mapping[str, np.ndarray]:
        """Metric -> (R, C); NaN where a case does not count. Several classes: the mean of those that count."""
        values = {metric.name: self._of_scores(_overlap(metric.name)) for metric in OVERLAP}
        return {name: mean_of_finite(of_classes, axis=1) for name, of_classes in values.items()}

    @cached_property
    def overlap(self) -> Mapping[str, np.ndarray]:
        """Metric -> (C,), the mean of the repeats in which a case counts; NaN where it counts in none."""
        return {name: mean_of_finite(values, axis=0) for name, values in self.overlap_of_repeats.items()}

    def found(self, chosen: np.ndarray | None = None) -> tuple[Found, ...]:
        """What was found (in the chosen cases): (R K,), for each repeat its classes."""
        index = np.arange(len(self.infos)) if chosen is None else np.flatnonzero(chosen)
        return tuple(
            Found(tuple(scores[i].candidates for i in index), np.array([scores[i].score for i in index], float))
            for scores in self.lists
        )

    @property
    def lists(self) -> tuple[tuple[Score, ...], ...]:
        """(R K,) lists of (C,) scores, in the order of `found`."""
        return tuple(scores for by_class in self.scores for scores in by_class.values())

    @cached_property
    def curves(self) -> Curves:
        """Voxels at each threshold, by repeat, class and case; NaN where only the mask was saved."""
        return stack([[[score.curve for score in scores] for scores in by_class.values()] for by_class in self.scores])

    @cached_property
    def reference_ml(self) -> np.ndarray:
        """(C,) volume of the reference, all classes together."""
        return self._of_scores(lambda score: score.reference_ml)[0].sum(axis=0)

    @cached_property
    def lesions(self) -> np.ndarray:
        """(C,) number of reference lesions, all classes together."""
        return self._of_scores(lambda score: len(score.lesions))[0].sum(axis=0).astype(int)

    @cached_property
    def without_probabilities(self) -> int:
        """In how many cases a repeat saved only the mask."""
        has = self._of_scores(lambda score: score.kind.has_probabilities).astype(bool)
        return int((~has.all(axis=(0, 1))).sum())

    def rows(self) -> Iterator[dict[str, Any]]:
        """The table of cases as it is written: a row per repeat and case."""
        volumes = self._of_scores(lambda score: score.predicted_ml).sum(axis=1)
        confidences = self._of_scores(lambda score: score.score).mean(axis=1)
        kinds = [[score.kind.name.lower() for score in scores] for scores in self.lists[:: len(self.classes)]]
        for r, repeat in enumerate(self.repeats):
            for c, (info, fold) in enumerate(zip(self.infos, self.folds.tolist(), strict=True)):
                yield {
                    "fold": fold,
                    "repeat": repeat,
                    **({"networks": self.networks[r]} if self.networks else {}),
                    "case": info.case,
                    "patient": info.patient,
                    "centre": info.centre,
                    "ISUP": info.isup,
                    "PI_RADS": info.pirads,
                    "zone": info.zone,
                    "prediction": kinds[r][c],
                    "lesions": int(self.lesions[c]),
                    "reference_ml": float(self.reference_ml[c]),
                    "predicted_ml": float(volumes[r, c]),
                    **{name: float(values[r, c]) for name, values in self.overlap_of_repeats.items()},
                    "score": float(confidences[r, c]),
                    "candidates": ";".join(results_as_text(s[c].candidates) for s in self.scores[r].values()),
                    "curve": curves_as_text([scores[c].curve for scores in self.scores[r].values()]),
                }

    def _of_scores(self, value: Callable[[Score], float]) -> np.ndarray:
        """(R, K, C) a number of each score."""
        return np.array([[[value(s) for s in scores] for scores in by_class.values()] for by_class in self.scores],
                        dtype=float)  # fmt: skip


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
        """(K,) names of the classes that are scored (averaged, if several)."""
        return self._first.classes

    @property
    def reference_ml(self) -> np.ndarray:
        """(C,) volume of the reference, all classes together."""
        return self._first.reference_ml

    @property
    def lesions(self) -> np.ndarray:
        """(C,) number of reference lesions, all classes together."""
        return self._first.lesions

    def found(self, variant: Variant, chosen: np.ndarray | None = None) -> tuple[Found, ...]:
        """What a variant found (in the chosen cases): (R K,), for each repeat its classes."""
        return self.tables[variant].found(chosen)

    @cached_property
    def overlap(self) -> Mapping[str, Mapping[Variant, np.ndarray]]:
        """Metric -> variant -> (C,), the mean of the repeats; NaN where a case does not count."""
        return {metric.name: {v: table.overlap[metric.name] for v, table in self.tables.items()} for metric in OVERLAP}

    def same_networks(self, variant: Variant, baseline: Variant) -> bool:
        """Whether two variants are the same trained networks in every repeat."""
        ours, theirs = self.tables[variant].networks, self.tables[baseline].networks
        return variant != baseline and bool(ours) and ours == theirs

    @cached_property
    def without_probabilities(self) -> Mapping[Variant, int]:
        """Variant -> cases of which only the mask was saved, if there are any."""
        return {v: table.without_probabilities for v, table in self.tables.items() if table.without_probabilities}

    @property
    def detection_comparable(self) -> bool:
        """Whether all variants have confidences in all cases, or none has in any."""
        return {self.without_probabilities.get(v, 0) for v in self.variants} in ({0}, {len(self.cases)})

    @property
    def _first(self) -> CaseTable:
        return next(iter(self.tables.values()))


def build_table(
    models: Mapping[int, str],
    folds: Mapping[str, int | None],
    infos: Mapping[str, CaseInfo],
    scores: Mapping[str, CaseScores],
    networks: Mapping[str, str] | None = None,
) -> CaseTable:
    """One variant's scores in order.

    Args:
        models: repeat -> its model's name in `scores`.
        folds: case -> fold.
        infos: case -> what is known about it.
        scores: case -> model -> class -> score.
        networks: model's name -> that of the model whose trained networks it has; None: not known.
    """
    cases = sorted(infos)
    by_case = {repeat: [scores[case][model] for case in cases] for repeat, model in models.items()}
    return CaseTable(
        infos=tuple(infos[case] for case in cases),
        folds=np.array([folds.get(case) for case in cases]),
        repeats=tuple(models),
        scores=tuple({name: tuple(s[name] for s in found) for name in found[0]} for found in by_case.values()),
        networks=() if networks is None else tuple(networks[model] for model in models.values()),
    )


def build_results(
    models: Mapping[Variant, Sequence[Variant]],
    folds: Mapping[str, int],
    infos: Mapping[str, CaseInfo],
    scores: Mapping[str, CaseScores],
    networks: Mapping[str, str] | None = None,
) -> Results:
    """All variants' scores in order; `models` are the trained repeats of each variant, the rest as in `build_table`."""
    names = {variant: {split_repeat(one.plans)[1]: one.name for one in found} for variant, found in models.items()}
    return Results({variant: build_table(found, folds, infos, scores, networks) for variant, found in names.items()})


def _overlap(name: str) -> Callable[[Score], float]:
    return lambda score: score.overlap[name]
