"""Statistics in the long run: how often intervals cover, how often tests raise false alarms, how often they find."""

from __future__ import annotations

import numpy as np

from nnunetv2_textguided.evaluation.bootstrap import draw, interval, means
from nnunetv2_textguided.evaluation.difference import Difference
from nnunetv2_textguided.evaluation.statistics.holm import holm
from nnunetv2_textguided.evaluation.trainings import folds_of_means

STUDIES, PATIENTS = 500, 60


def study(random: np.random.Generator, shift: float = 0.0) -> tuple[np.ndarray, list[str]]:
    """Differences of 80 cases of 60 patients; cases of a patient resemble each other, and some do not count."""
    patients = [f"p{i % PATIENTS}" for i in range(80)]
    own = random.normal(0, 0.10, PATIENTS)  # skewed below, as Dice differences are: some lesions are lost
    lost = (random.random(80) < 0.05) * random.uniform(-0.5, 0.5, 80)
    values = shift + own[np.arange(80) % PATIENTS] + random.normal(0, 0.05, 80) + lost
    values[random.random(80) < 0.1] = np.nan
    return values, patients


def covered(by_patient: bool) -> float:
    """Share of 95 % intervals that contain the true difference."""
    random = np.random.default_rng(2)
    hits = 0
    for number in range(STUDIES):
        values, patients = study(random, shift=0.05)
        owners = patients if by_patient else [str(i) for i in range(len(patients))]
        ends = interval(means(values, draw(owners, 400, number)))
        hits += ends.low <= 0.05 <= ends.high
    return hits / STUDIES


def test_bootstrap_interval_covers_as_often_as_it_says() -> None:
    assert 0.92 <= covered(by_patient=True) <= 0.975


def test_patients_have_to_be_drawn_whole() -> None:
    """Where every patient has four similar cases, drawing cases would promise far too much."""
    random = np.random.default_rng(3)
    hits = {True: 0, False: 0}
    for number in range(200):
        own = random.normal(0, 0.1, 30)
        values = np.repeat(own, 4) + random.normal(0, 0.02, 120)
        for whole in hits:
            owners = [str(i // 4) if whole else str(i) for i in range(120)]
            ends = interval(means(values, draw(owners, 300, number)))
            hits[whole] += ends.low <= 0 <= ends.high
    assert hits[True] / 200 >= 0.88
    assert hits[False] / 200 <= 0.80


def _p_values(random: np.random.Generator, gains: tuple[float, ...] = (0.0,) * 5) -> list[float]:
    """Of five variants, two repeats on five folds, against a shared baseline: their tests are not independent."""
    folds, patients = np.repeat(np.arange(5), 12), [f"p{i}" for i in range(60)]

    def train(gain: float) -> np.ndarray:
        return 0.6 + gain + random.normal(0, 0.02, (2, 5))[:, folds] + random.normal(0, 0.1, (2, 60))

    baseline = train(0)
    return [Difference(tuple(folds_of_means(train(gain), baseline, folds, patients))).p for gain in gains]


def test_holm_keeps_the_familys_level_where_single_tests_do_not() -> None:
    random = np.random.default_rng(4)
    found = np.array([_p_values(random) for _ in range(STUDIES)])
    assert 0.03 <= (found <= 0.05).mean() <= 0.07
    corrected = np.array([holm(row) for row in found])
    error = np.sqrt(0.05 * 0.95 / STUDIES)
    assert (corrected.min(axis=1) <= 0.05).mean() <= 0.05 + 2.5 * error
    assert (found.min(axis=1) <= 0.05).mean() > 0.10, "without correction there would be false alarms"


def test_a_planted_difference_is_found_after_correction() -> None:
    random = np.random.default_rng(5)
    corrected = np.array([holm(_p_values(random, (0.08, 0, 0, 0, 0))) for _ in range(200)])
    assert (corrected[:, 0] <= 0.05).mean() >= 0.75
    assert (corrected[:, 1:] <= 0.05).any(axis=1).mean() <= 0.08
