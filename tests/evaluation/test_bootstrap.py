"""The patient bootstrap: draws, means and intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nnunetv2_textguided.evaluation.bootstrap import Interval, draw, interval, means

PATIENTS = ["a", "b", "a", "c", "b", "a"]


def mean_interval(values: np.ndarray, patients: list[str], replicates: int = 1000, seed: int = 0) -> Interval:
    return interval(means(values, draw(patients, replicates, seed)))


def test_all_cases_of_a_patient_are_drawn_together_and_as_many_patients_as_there_are() -> None:
    weights = draw(PATIENTS, 500, seed=0)
    assert weights.shape == (500, 6)
    assert (weights[:, [0]] == weights[:, [2, 5]]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert weights[:, 0].mean() == pytest.approx(1, abs=0.15)
    assert (draw(PATIENTS, 5, seed=0) == weights[:5]).all()
    assert (draw(PATIENTS, 500, seed=1) != weights).any()


def test_means_are_those_of_the_repeated_cases_and_skip_nan() -> None:
    values = np.array([0.1, 0.9, math.nan, 0.4, 0.5, 0.6])
    weights = draw(PATIENTS, 50, seed=3)
    expected = [np.nanmean(np.repeat(values, row)) for row in weights]
    np.testing.assert_allclose(means(values, weights), expected)
    assert math.isnan(means([math.nan, 1.0], np.array([[3, 0]]))[0])


def test_the_interval_is_a_percentile_interval_and_counts_undefined_replicates() -> None:
    found = interval(np.array([*range(101), math.nan, math.nan], dtype=float), 0.9)
    assert (found.low, found.high) == pytest.approx((5, 95))
    assert (found.valid, found.replicates) == (101, 103)
    nothing = interval(np.array([math.nan]))
    assert math.isnan(nothing.low)
    assert nothing.valid == 0


def test_identical_models_have_no_difference_and_a_planted_one_is_found() -> None:
    random = np.random.default_rng(0)
    patients = [str(i) for i in range(200)]
    first = random.normal(0.6, 0.2, 200)
    same = mean_interval(first - first, patients)
    assert (same.low, same.high) == (0, 0)
    better = mean_interval(first + random.normal(0.05, 0.05, 200) - first, patients)
    assert 0.03 < better.low < 0.05 < better.high < 0.07


def test_95_percent_intervals_cover_the_truth_although_cases_of_a_patient_agree() -> None:
    # 60 patients with three studies each whose values share a patient effect; the truth is 0.
    random = np.random.default_rng(1)
    patients = np.repeat([str(i) for i in range(60)], 3)
    covered = by_case = 0
    for seed in range(120):
        values = np.repeat(random.normal(0, 1, 60), 3) + random.normal(0, 0.3, 180)
        found = mean_interval(values, patients, replicates=200, seed=seed)
        covered += found.low <= 0 <= found.high
        naive = mean_interval(values, [str(i) for i in range(180)], replicates=200, seed=seed)
        by_case += naive.low <= 0 <= naive.high
    assert 0.90 <= covered / 120 <= 0.98
    assert by_case / 120 < 0.85, "drawing cases instead of patients would be far too sure"
