"""Each statistic against answers that are known, or computed by others."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from nnunetv2_textguided.evaluation.statistics.effect import effect_size
from nnunetv2_textguided.evaluation.statistics.holm import holm
from nnunetv2_textguided.evaluation.statistics.pairs import pair
from nnunetv2_textguided.evaluation.statistics.permutation import mean_difference, permutation_test
from nnunetv2_textguided.evaluation.statistics.wilcoxon import wilcoxon_test


def test_few_patients_are_permuted_exactly() -> None:
    differences = np.array([0.3, -0.1, 0.2, 0.05, 0.4])
    patterns = np.array(list(itertools.product((1, -1), repeat=5)))
    means = patterns @ differences / 5
    expected = (np.abs(means) >= abs(differences.mean()) - 1e-12).mean()
    assert permutation_test(mean_difference(differences, 5), 5, 1000, 0) == pytest.approx(expected)


def test_permutation_of_many_patients_agrees_with_the_normal_limit() -> None:
    from scipy import stats

    differences = np.random.default_rng(1).normal(0.02, 0.1, 200)
    expected = 2 * stats.norm.sf(abs(differences.sum()) / math.sqrt((differences**2).sum()))
    found = permutation_test(mean_difference(differences, 200), 200, 20_000, 0)
    assert found == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("patients", [0, 1, 3, 40])
def test_no_difference_is_no_evidence(patients: int) -> None:
    p = permutation_test(mean_difference(np.zeros(patients), max(patients, 1)), patients, 200, 0)
    assert math.isnan(p) if patients == 0 else p == 1
    w = wilcoxon_test(np.zeros(patients))
    assert math.isnan(w) if patients == 0 else w == 1


def test_wilcoxon_is_scipys() -> None:
    from scipy import stats

    differences = np.array([0.31, -0.12, 0.25, 0.05, 0.4, 0.01, -0.02, 0.17])
    assert wilcoxon_test(differences) == pytest.approx(stats.wilcoxon(differences).pvalue)


def test_wilcoxon_ranks_equal_cases_as_pratt_does() -> None:
    from scipy import stats

    differences = np.array([0.3, 0.2, 0.1, 0.25, -0.15, 0, 0, 0, 0.4, 0.5, -0.1, 0.6, 0.45, 0.35, 0.02, 0.01])
    assert wilcoxon_test(differences) == pytest.approx(stats.wilcoxon(differences, zero_method="pratt").pvalue)
    assert wilcoxon_test(differences) != pytest.approx(stats.wilcoxon(differences, zero_method="wilcox").pvalue)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_holm_does_not_count_what_was_not_tested() -> None:
    adjusted = holm([0.02, math.nan, 0.03])
    assert adjusted[0] == pytest.approx(0.04)
    assert math.isnan(adjusted[1])


def test_effect_sizes_by_hand() -> None:
    effect = effect_size(np.array([1.0, 2.0, -1.0, 0.0]))
    assert effect.standardised == pytest.approx(0.5 / np.std([1, 2, -1, 0], ddof=1))
    assert effect.rank_biserial == pytest.approx((1.5 + 3 - 1.5) / 6)
    assert (effect.higher, effect.equal, effect.lower) == (2, 1, 1)
    nothing = effect_size(np.zeros(4))
    assert (nothing.standardised, nothing.rank_biserial, nothing.equal) == (0, 0, 4)


def test_pairs_use_the_cases_that_count_for_both_and_join_patients() -> None:
    paired = pair(np.array([0.5, np.nan, 0.7, 0.9]), np.array([0.4, 0.1, np.nan, 0.5]), ["a", "a", "b", "a"])
    assert paired.differences == pytest.approx([0.1, 0.4])
    assert paired.patients == 1
    assert paired.patient_means == pytest.approx([0.25])
