"""Whether a case's score is a probability: Brier score, logistic recalibration, reliability by bins.

Every quantity is given as a value for each training and case whose mean it is: its estimate plus the case's influence
on it. So one estimator (difference.py) gives intervals over patients and trainings, and differences of models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit, ndtri

from nnunetv2_textguided.evaluation.case_facts import CERTAIN, CaseFacts
from nnunetv2_textguided.evaluation.case_likelihood import fit_likelihood
from nnunetv2_textguided.evaluation.difference import Difference
from nnunetv2_textguided.evaluation.trainings import folds_of_means

QUANTITIES = {
    "brier": "Brier score",
    "skill": "Brier skill",
    "excess": "predicted minus observed",
    "intercept": "intercept",
    "slope": "slope",
}
"""Name -> title. Skill: 1 - Brier / Brier of the prevalence. A probability has excess 0, intercept 0 and slope 1."""
BINS = 10
FEWEST_IN_BIN = 20


def cross_fit(scores: np.ndarray, positive: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Platt's scaling of scores (R, C): within each repeat, a fold's cases by the regression of the other folds.

    Args:
        scores: of R repeats and C cases, in [0, 1].
        positive, folds: (C,) of each case.

    Raises:
        DataError: a fold leaves too few cases to fit on.
    """
    facts = [[CaseFacts(score=float(score)) for score in one] for one in scores]
    return np.stack([fit_likelihood(one, positive.tolist(), folds.tolist(), ("image",))[1] for one in facts])


def calibration(predicted: np.ndarray, positive: np.ndarray) -> dict[str, np.ndarray]:
    """Name of QUANTITIES -> (R, C), whose mean is the quantity.

    Args:
        predicted: (R, C) probability of each training and case.
        positive: (C,) whether the case has the disease; both kinds have to occur.

    Returns:
        NaN in intercept and slope where no regression exists: scores are all the same, or separate the two kinds.
    """
    observed = np.broadcast_to(positive, predicted.shape).astype(float)
    squares = (predicted - observed) ** 2
    prevalence, brier = float(observed.mean()), float(squares.mean())
    chance = prevalence * (1 - prevalence)
    of_chance = (1 - 2 * prevalence) * (observed - prevalence)
    skill = 1 - brier / chance - (squares - brier) / chance + brier / chance**2 * of_chance
    intercept, slope = _recalibrate(predicted, observed)
    values = (squares, skill, predicted - observed, intercept, slope)
    return dict(zip(QUANTITIES, values, strict=True))


def _recalibrate(predicted: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Intercept and slope of logit P(observed) = a + b logit(predicted) (Cox, Biometrika 1958): (2, R, C)."""
    logits = logit(np.clip(predicted, CERTAIN, 1 - CERTAIN))
    low, high = (logits[observed == kind] for kind in (0, 1))
    if low.max() <= high.min() or high.max() <= low.min():
        return np.full((2, *predicted.shape), np.nan)
    from sklearn.linear_model import LogisticRegression

    x = logits.reshape(-1, 1)
    fitted = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(x, observed.ravel())
    estimate = np.array([fitted.intercept_[0], fitted.coef_[0, 0]])
    design = np.hstack([np.ones_like(x), x])
    chance = expit(design @ estimate)
    information = design.T @ (design * (chance * (1 - chance))[:, None])
    # Of an estimate that solves sum (y - p) x = 0: one Newton step for each case by itself.
    scores = design * (observed.ravel() - chance)[:, None]
    influence = np.linalg.solve(information, scores.T) * len(x)
    return np.asarray(estimate[:, None] + influence).reshape(2, *predicted.shape)


def over_trainings(
    values: np.ndarray, folds: np.ndarray, patients: Sequence[str], level: float, baseline: np.ndarray | None = None
) -> Difference:
    """The mean of `values` (R, C), or its difference to that of a baseline, over patients and trainings."""
    other = np.zeros_like(values) if baseline is None else baseline
    return Difference(tuple(folds_of_means(values, other, folds, patients)), level)


@dataclass(frozen=True)
class Bin:
    """Cases of about the same predicted probability.

    Attributes:
        cases: how many, the mean over repeats.
        predicted, observed: mean probability, and share that has the disease.
        low, high: Wilson's interval of the latter.
    """

    cases: float
    predicted: float
    observed: float
    low: float
    high: float


def reliability(predicted: np.ndarray, positive: np.ndarray, level: float) -> list[Bin]:
    """At most BINS bins of about equally many cases; equal probabilities stay together.

    Args:
        predicted: (R, C) of each training and case.
        positive: (C,) whether the case has the disease.
        level: nominal coverage.
    """
    repeats, cases = predicted.shape
    observed = np.broadcast_to(positive, predicted.shape).ravel()
    values = predicted.ravel()
    wanted = values.size / max(1, min(BINS, cases // FEWEST_IN_BIN))
    highest, held = [], 0
    for value, count in zip(*np.unique(values, return_counts=True), strict=True):
        held += int(count)
        if held >= wanted:
            highest.append(float(value))
            held = 0
    if highest and held < wanted / 2:  # the rest joins the last bin
        highest.pop()
    place = np.searchsorted(highest, values, side="left")
    made = []
    for one in np.unique(place):
        inside = place == one
        # Repeats predict the same cases: they say nothing more about how many of them have the disease.
        share, count = float(observed[inside].mean()), float(inside.sum() / repeats)
        made.append(Bin(count, float(values[inside].mean()), share, *wilson(share, count, level)))
    return made


def wilson(share: float, count: float, level: float) -> tuple[float, float]:
    """Wilson's interval of a proportion; the count may be a mean over repeats, which scipy's does not take."""
    z = float(ndtri((1 + level) / 2))
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return float(max(0.0, centre - half)), float(min(1.0, centre + half))


def net_benefit(predicted: np.ndarray, positive: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Net benefit of a biopsy at probabilities of at least t (Vickers and Elkin, Medical Decision Making 2006).

    Args:
        predicted: (R, C) of each training and case; ones: a biopsy for all.
        positive: (C,) whether the case has the disease.
        thresholds: (T,) in (0, 1): the probability at which a biopsy is as good as none.

    Returns:
        (T, R, C): the mean over cases is the share of true positives less that of false ones, times t / (1 - t).
    """
    odds = (thresholds / (1 - thresholds))[:, None, None]
    chosen = predicted >= thresholds[:, None, None]
    return np.asarray(np.where(chosen, np.where(positive, 1.0, -odds), 0.0))
