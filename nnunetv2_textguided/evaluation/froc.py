"""Lesion sensitivity at a number of false positives per case, in many bootstrap replicates at once.

picai_eval's Metrics.lesion_TPR_at_FPR is the definition (and what reports state); it takes 30 ms for 1500 cases, a
minute for a thousand replicates at three rates. This is the same curve for all replicates by one cumulative sum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

_CHUNK = 64  # replicates at once; bounds memory to a few tens of MB for 1500 cases


class LesionCurve:
    """All candidates and missed lesions of a set of cases, sorted by falling confidence.

    Args:
        candidates: case -> (is it a lesion, confidence, overlap), as `detection.score_case` gives them.
        cases: the order of cases in the replicates' weights.
    """

    def __init__(self, candidates: Mapping[str, Sequence[tuple[int, float, float]]], cases: Sequence[str]) -> None:
        rows = [(i, a, b) for i, case in enumerate(cases) for a, b, _ in candidates[case]]
        self._case = np.array([r[0] for r in rows], dtype=int)
        lesion = np.array([r[1] for r in rows], dtype=bool)
        confidence = np.array([r[2] for r in rows], dtype=float)
        order = np.argsort(-confidence, kind="stable")
        self._case, self._lesion, confidence = self._case[order], lesion[order], confidence[order]
        # The last entry of each run of equal confidences: where a threshold's counts are complete.
        self._ends = np.flatnonzero(np.diff(confidence, append=-np.inf))
        self._starts = np.concatenate(([0], self._ends[:-1] + 1)) if self._ends.size else self._ends

    def sensitivity(self, weights: np.ndarray, false_positives: Sequence[float]) -> np.ndarray:
        """Sensitivity in each replicate.

        Args:
            weights: (R, C) how often each case counts.
            false_positives: K rates, in false positives per case.

        Returns:
            (R, K); NaN where a replicate has no lesion.
        """
        parts = [self._chunk(weights[i : i + _CHUNK], false_positives) for i in range(0, len(weights), _CHUNK)]
        return np.concatenate(parts) if parts else np.empty((0, len(false_positives)))

    def _chunk(self, weights: np.ndarray, false_positives: Sequence[float]) -> np.ndarray:
        result = np.full((len(weights), len(false_positives)), np.nan)
        if not self._ends.size:
            return result
        drawn = weights[:, self._case]
        hits = np.cumsum(drawn * self._lesion, axis=1)[:, self._ends].astype(float)
        alarms = np.cumsum(drawn * ~self._lesion, axis=1)[:, self._ends]
        lesions = hits[:, -1]
        # picai_eval divides and compares in single precision; a rate met exactly has to be met here too.
        rates = alarms.astype(np.float32) / weights.sum(axis=1, keepdims=True).astype(np.float32)
        # As in picai_eval, the lowest threshold present stands for "everything" and is no operating point.
        present = np.add.reduceat(drawn, self._starts, axis=1) > 0
        lowest = np.where(present.any(axis=1), self._ends.size - 1 - np.argmax(present[:, ::-1], axis=1), 0)
        usable = np.arange(self._ends.size) < lowest[:, None]
        for k, rate in enumerate(false_positives):
            # max, not last: hits never fall along the curve, and an unusable point counts 0
            best = np.where(usable & (rates <= np.float32(rate)), hits, 0.0).max(axis=1)
            np.divide(best, lesions, out=result[:, k], where=lesions > 0)
        return result
