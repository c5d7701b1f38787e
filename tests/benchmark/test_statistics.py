"""Each statistic against answers that are known, or computed by others."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nnunetv2_textguided.evaluation.statistics.effect import effect_size
from nnunetv2_textguided.evaluation.statistics.holm import holm
from nnunetv2_textguided.evaluation.statistics.pairs import pair


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
