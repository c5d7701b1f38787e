"""AUROC, AP and lesion sensitivity in many weightings of the cases at once.

picai_eval is the definition: tests compare every number with it. It needs milliseconds per value, which thousands of
bootstrap replicates and permutations of several models would turn into hours; here a weighting is a row of a matrix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnunetv2_textguided.evaluation.detection import FALSE_POSITIVES_PER_CASE, Candidate
from nnunetv2_textguided.evaluation.froc import LesionCurve
from nnunetv2_textguided.evaluation.metrics import DETECTION, sensitivity_name

_CHUNK = 64  # rows at once; bounds memory


@dataclass(frozen=True)
class Found:
    """What one model found in C cases.

    Attributes:
        candidates: for each case (is it a lesion, confidence, overlap), as `picai.detection.score_case` gives them.
        scores: (C,) score of each case.
    """

    candidates: tuple[tuple[Candidate, ...], ...]
    scores: np.ndarray

    @property
    def positive(self) -> np.ndarray:
        """(C,) whether the case has a lesion."""
        return np.array([any(lesion for lesion, _, _ in case) for case in self.candidates], dtype=bool)

    def with_cases_of(self, other: Found) -> Found:
        """Both models' cases one after the other, for statistics of exchanged results."""
        return Found((*self.candidates, *other.candidates), np.concatenate((self.scores, other.scores)))


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
        values["auroc"] = _in_chunks(_auroc, found.scores, found.positive, weights)
    if "ap" in wanted:
        values["ap"] = average_precision(found, weights)
    rates = [rate for rate in FALSE_POSITIVES_PER_CASE if sensitivity_name(rate) in wanted]
    if rates:
        names = [str(i) for i in range(len(found.candidates))]
        by_name: Mapping[str, Sequence[Candidate]] = dict(zip(names, found.candidates, strict=True))
        sensitivity = LesionCurve(by_name, names).sensitivity(weights, rates)
        values |= {sensitivity_name(rate): sensitivity[:, column] for column, rate in enumerate(rates)}
    return values


def average_precision(found: Found, weights: np.ndarray) -> np.ndarray:
    """AP over lesions under R weightings (R, C) of the cases; NaN where a weighting has no lesion."""
    rows = [(i, lesion, confidence) for i, case in enumerate(found.candidates) for lesion, confidence, _ in case]
    owner = np.array([row[0] for row in rows], dtype=int)
    lesion = np.array([row[1] for row in rows], dtype=bool)
    confidence = np.array([row[2] for row in rows], dtype=float)
    drawn = weights[:, owner] if rows else np.zeros((len(weights), 0))
    return _in_chunks(_average_precision, confidence, lesion, drawn)


def _in_chunks(function, values: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:  # type: ignore[no-untyped-def]
    parts = [function(values, positive, weights[i : i + _CHUNK]) for i in range(0, len(weights), _CHUNK)]
    return np.concatenate(parts) if parts else np.empty(0)


def _auroc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    drawn = weights[:, order].astype(float)
    lesions = np.add.reduceat(drawn * positive[order], starts, axis=1)
    others = np.add.reduceat(drawn * ~positive[order], starts, axis=1)
    # Pairs in which the case with a lesion has the higher score; equal scores count half.
    won = (lesions * (np.cumsum(others, axis=1) - others / 2)).sum(axis=1)
    pairs = lesions.sum(axis=1) * others.sum(axis=1)
    return np.divide(won, pairs, out=np.full(won.shape, np.nan), where=pairs > 0)


def _average_precision(confidence: np.ndarray, lesion: np.ndarray, weights: np.ndarray) -> np.ndarray:
    if confidence.size == 0:
        return np.full(len(weights), np.nan)
    order = np.argsort(-confidence, kind="stable")
    starts = np.flatnonzero(np.diff(-confidence[order], prepend=-np.inf))
    drawn = weights[:, order].astype(float)
    hits = np.add.reduceat(drawn * lesion[order], starts, axis=1)
    alarms = np.add.reduceat(drawn * ~lesion[order], starts, axis=1)
    all_hits, everything = np.cumsum(hits, axis=1), np.cumsum(hits + alarms, axis=1)
    precision = np.divide(all_hits, everything, out=np.zeros_like(all_hits), where=everything > 0)
    # As in picai_eval: entries of confidence 0 only tell how many lesions there are; they were not found.
    precision[:, confidence[order][starts] == 0] = 0
    total = all_hits[:, -1]
    return np.divide((hits * precision).sum(axis=1), total, out=np.full(total.shape, np.nan), where=total > 0)
