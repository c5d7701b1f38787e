"""Statistics in the long run: how often intervals cover, how often tests raise false alarms, how often they find."""

from __future__ import annotations

import numpy as np
import pytest

from nnunetv2_textguided.evaluation.bootstrap import draw, interval, means
from nnunetv2_textguided.evaluation.statistics.holm import holm
from nnunetv2_textguided.evaluation.statistics.pairs import pair
from nnunetv2_textguided.evaluation.statistics.permutation import mean_difference, permutation_test
from nnunetv2_textguided.evaluation.statistics.wilcoxon import wilcoxon_test

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


@pytest.fixture(scope="module")
def null_p_values() -> np.ndarray:
    """(studies, 2 tests, 5 variants): p values where no variant differs from the baseline.

    As in a benchmark the variants share the baseline, so that their tests are not independent.
    """
    random = np.random.default_rng(4)
    found = np.empty((STUDIES, 2, 5))
    for number in range(STUDIES):
        patients = [f"p{i % 30}" for i in range(40)]
        baseline = random.normal(0.6, 0.1, 40)
        for variant in range(5):
            paired = pair(random.normal(0.6, 0.1, 40), baseline, patients)
            statistic = mean_difference(paired.sums, paired.differences.size)
            found[number, 0, variant] = permutation_test(statistic, paired.patients, 199, number)
            found[number, 1, variant] = wilcoxon_test(paired.patient_means)
    return found


@pytest.mark.parametrize("test", [0, 1], ids=["permutation", "wilcoxon"])
def test_a_single_test_keeps_its_level(null_p_values: np.ndarray, test: int) -> None:
    rate = (null_p_values[:, test] <= 0.05).mean()
    assert 0.03 <= rate <= 0.07


@pytest.mark.parametrize("test", [0, 1], ids=["permutation", "wilcoxon"])
def test_holm_keeps_the_familys_level_where_single_tests_do_not(null_p_values: np.ndarray, test: int) -> None:
    corrected = np.array([holm(row) for row in null_p_values[:, test]])
    error = np.sqrt(0.05 * 0.95 / STUDIES)
    assert (corrected.min(axis=1) <= 0.05).mean() <= 0.05 + 2.5 * error
    assert (null_p_values[:, test].min(axis=1) <= 0.05).mean() > 0.10, "without correction there would be false alarms"


def test_a_planted_difference_is_found() -> None:
    random = np.random.default_rng(5)
    p_values = []
    for number in range(100):
        values, patients = study(random, shift=0.05)
        paired = pair(values, np.zeros_like(values), patients)
        statistic = mean_difference(paired.sums, paired.differences.size)
        p_values.append(permutation_test(statistic, paired.patients, 199, number))
    assert (np.array(p_values) <= 0.05).mean() >= 0.75
