"""The differences between two models, case by case and patient by patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Pairs:
    """Differences of a per-case number between two models.

    Attributes:
        differences: (N,) model minus baseline, of the N cases in which both count.
        owner: (N,) index of each case's patient, 0..P-1.
    """

    differences: np.ndarray
    owner: np.ndarray

    @property
    def patients(self) -> int:
        """Number of patients P."""
        return int(self.owner.max()) + 1 if self.owner.size else 0

    @property
    def sums(self) -> np.ndarray:
        """(P,) sum of each patient's differences."""
        return np.bincount(self.owner, self.differences, minlength=self.patients)

    @property
    def patient_means(self) -> np.ndarray:
        """(P,) mean of each patient's differences: independent observations, which cases of one patient are not."""
        return self.sums / np.bincount(self.owner, minlength=self.patients)


def pair(values: np.ndarray, baseline: np.ndarray, patients: Sequence[str]) -> Pairs:
    """Pair two models.

    Args:
        values, baseline: (C,) one number per case; NaN where the case does not count.
        patients: (C,) the patient of each case.
    """
    differences = np.asarray(values, float) - np.asarray(baseline, float)
    both = np.isfinite(differences)
    _, owner = np.unique(np.asarray(patients, dtype=str)[both], return_inverse=True)
    return Pairs(differences[both], owner.astype(int))
