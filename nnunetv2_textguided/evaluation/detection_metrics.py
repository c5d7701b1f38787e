"""AUROC, AP and lesion sensitivity (FROC) of what a model found, in many weightings of the cases at once.

picai_eval is the definition, and the challenge's own numbers are its (`picai_metrics`); tests compare every number with
it. It needs milliseconds per value, which thousands of bootstrap replicates and permutations of several models would
turn into hours; here a weighting is a row of a matrix, and all of them share one cumulative sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from nnunetv2_textguided.evaluation.lesion_matching import LesionResult
from nnunetv2_textguided.evaluation.metrics import DETECTION, FALSE_POSITIVES_PER_CASE, sensitivity_name
from nnunetv2_textguided.extras import require

_CHUNK = 64  # weightings at once; bounds memory to a few tens of MB for 1500 cases


@dataclass(frozen=True)
class Found:
    """What one model found in C cases.

    Attributes:
        candidates: of each case, from `match_lesions`.
        scores: (C,) score of each case.
    """

    candidates: tuple[tuple[LesionResult, ...], ...]
    scores: np.ndarray

    @cached_property
    def positive(self) -> np.ndarray:
        """(C,) whether the case has a lesion."""
        return np.array([any(lesion for lesion, _, _ in case) for case in self.candidates], dtype=bool)

    @cached_property
    def lesions(self) -> LesionCurve:
        """The candidates of all cases."""
        return LesionCurve(self.candidates)


def detection(found: Found, weights: np.ndarray, metrics: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Detection metrics under R weightings of the cases.

    Args:
        found: C cases.
        weights: (R, C) how often each case counts.
        metrics: names; by default all of them.

    Returns:
        Metric -> (R,); NaN where undefined (no lesion; AUROC also without a case that has none).
    """
    wanted = set(metrics if metrics is not None else (metric.name for metric in DETECTION))
    values: dict[str, np.ndarray] = {}
    if "auroc" in wanted:
        values["auroc"] = auroc(found.scores, found.positive, weights)
    if "ap" in wanted:
        values["ap"] = found.lesions.average_precision(weights)
    rates = [rate for rate in FALSE_POSITIVES_PER_CASE if sensitivity_name(rate) in wanted]
    if rates:
        sensitivity = found.lesions.sensitivity(weights, rates)
        values |= {sensitivity_name(rate): sensitivity[:, column] for column, rate in enumerate(rates)}
    return values


def picai_metrics(cases: Sequence[str], found: Found) -> Any:
    """picai_eval's Metrics of the cases: the challenge's own numbers."""
    return require("picai_eval").Metrics(
        lesion_results={case: list(candidates) for case, candidates in zip(cases, found.candidates, strict=True)},
        case_target={case: int(positive) for case, positive in zip(cases, found.positive, strict=True)},
        case_pred={case: float(score) for case, score in zip(cases, found.scores, strict=True)},
    )


def auroc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUROC of C cases under R weightings.

    Args:
        scores, positive: (C,) score of each case, and whether it has a lesion.
        weights: (R, C) how often each case counts.

    Returns:
        (R,); NaN where a weighting lacks cases with or without a lesion.
    """
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    result = [np.empty(0)]
    for part in _chunks(weights):
        drawn = part[:, order].astype(float)
        lesions = np.add.reduceat(drawn * positive[order], starts, axis=1)
        others = np.add.reduceat(drawn * ~positive[order], starts, axis=1)
        # Pairs in which the case with a lesion has the higher score; equal scores count half.
        won = (lesions * (np.cumsum(others, axis=1) - others / 2)).sum(axis=1)
        result.append(_ratio(won, lesions.sum(axis=1) * others.sum(axis=1)))
    return np.concatenate(result)


class LesionCurve:
    """All candidates and missed lesions of C cases, by falling confidence.

    Args:
        candidates: of each case, from `match_lesions`.
    """

    def __init__(self, candidates: Sequence[Sequence[LesionResult]]) -> None:
        rows = [(i, lesion, confidence) for i, case in enumerate(candidates) for lesion, confidence, _ in case]
        rows.sort(key=lambda row: -row[2])
        self._case = np.array([row[0] for row in rows], dtype=int)
        self._lesion = np.array([row[1] for row in rows], dtype=bool)
        confidence = np.array([row[2] for row in rows], dtype=float)
        # Each run of equal confidences is one threshold; its counts are complete at its end.
        self._starts = np.flatnonzero(np.diff(confidence, prepend=np.inf))
        self._thresholds = confidence[self._starts]

    def average_precision(self, weights: np.ndarray) -> np.ndarray:
        """AP over lesions under `weights` (R, C); (R,), NaN where a weighting has no lesion."""
        result = [np.empty(0)]
        for _, hits, alarms in self._counted(weights):
            entries = hits + alarms
            precision = np.divide(hits, entries, out=np.zeros_like(hits), where=entries > 0)
            # As in picai_eval: entries of confidence 0 only tell how many lesions there are; they were not found.
            precision[:, self._thresholds == 0] = 0
            new_hits = np.diff(hits, axis=1, prepend=0)
            result.append(_ratio((new_hits * precision).sum(axis=1), _last(hits)))
        return np.concatenate(result)

    def sensitivity(self, weights: np.ndarray, false_positives: Sequence[float]) -> np.ndarray:
        """Lesion sensitivity at K rates of false positives per case under `weights` (R, C).

        Returns:
            (R, K); NaN where a weighting has no lesion.
        """
        result = [np.empty((0, len(false_positives)))]
        for part, hits, alarms in self._counted(weights):
            # picai_eval divides and compares in single precision; a rate met exactly has to be met here too.
            rates = alarms.astype(np.float32) / part.sum(axis=1, keepdims=True).astype(np.float32)
            # As in picai_eval, the lowest threshold present stands for "everything" and is no operating point.
            usable = hits + alarms < _last(hits + alarms)[:, None]
            # max, not last: hits never fall along the curve, and an unusable point counts 0
            best = [np.where(usable & (rates <= np.float32(rate)), hits, 0.0).max(axis=1, initial=0)
                    for rate in false_positives]  # fmt: skip
            result.append(np.stack([_ratio(hit, _last(hits)) for hit in best], axis=1))
        return np.concatenate(result)

    def _counted(self, weights: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """A few weightings (R, C) at a time, with their found lesions and false alarms at T thresholds, (R, T)."""
        for part in _chunks(weights):
            drawn = part[:, self._case].astype(float)
            counts = (drawn * kind for kind in (self._lesion, ~self._lesion))
            summed = (np.add.reduceat(count, self._starts, axis=1) if self._starts.size else count for count in counts)
            hits, alarms = (np.cumsum(count, axis=1) for count in summed)
            yield part, hits, alarms


def _chunks(weights: np.ndarray) -> Iterator[np.ndarray]:
    return (weights[i : i + _CHUNK] for i in range(0, len(weights), _CHUNK))


def _last(counts: np.ndarray) -> np.ndarray:
    """The last column of (R, T); 0 where there is none."""
    return counts[:, -1] if counts.shape[1] else np.zeros(len(counts))


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """NaN where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full(denominator.shape, np.nan), where=denominator > 0)
