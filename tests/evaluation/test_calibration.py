"""Calibration and net benefit: identities, agreement with scikit-learn and scipy, and what is not defined."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import binomtest
from sklearn.metrics import brier_score_loss

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.evaluation.calibration import (
    QUANTITIES,
    calibration,
    cross_fit,
    net_benefit,
    over_trainings,
    reliability,
    wilson,
)


def calibrated(cases: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Probabilities (1, C) that are right, who has the disease, folds, patients."""
    random = np.random.default_rng(seed)
    predicted = expit(random.normal(-0.5, 1.5, cases))
    return predicted[None], random.random(cases) < predicted, np.arange(cases) % 5, [str(i) for i in range(cases)]


def test_a_calibrated_probability_has_slope_1_intercept_0_and_excess_0_within_its_interval() -> None:
    ideal = {"slope": 1, "intercept": 0, "excess": 0}
    inside = dict.fromkeys(ideal, 0)
    for seed in range(60):
        predicted, positive, folds, patients = calibrated(300, seed)
        values = calibration(predicted, positive)
        for name, right in ideal.items():
            found = over_trainings(values[name], folds, patients, 0.95)
            inside[name] += found.ends.low <= right <= found.ends.high
    assert all(52 <= count <= 60 for count in inside.values()), inside


def test_scaled_logits_divide_the_slope_and_nothing_else() -> None:
    predicted, positive, _, _ = calibrated(400, 1)
    own = calibration(predicted, positive)
    bold = calibration(expit(1.5 * logit(predicted)), positive)
    assert bold["slope"].mean() == pytest.approx(own["slope"].mean() / 1.5, abs=1e-4)
    assert bold["intercept"].mean() == pytest.approx(own["intercept"].mean(), abs=1e-4)
    assert bold["brier"].mean() > own["brier"].mean()


def test_brier_score_is_scikit_learns_and_the_prevalence_has_no_skill() -> None:
    predicted, positive, _, _ = calibrated(150, 2)
    values = calibration(predicted, positive)
    assert values["brier"].mean() == pytest.approx(brier_score_loss(positive, predicted[0]))
    chance = positive.mean() * (1 - positive.mean())
    assert values["skill"].mean() == pytest.approx(1 - values["brier"].mean() / chance)
    constant = calibration(np.full((1, 150), positive.mean()), positive)
    assert constant["skill"].mean() == pytest.approx(0, abs=1e-12)
    assert constant["excess"].mean() == pytest.approx(0, abs=1e-12)


def test_a_cases_influence_is_what_leaving_it_out_changes() -> None:
    predicted, positive, _, _ = calibrated(80, 3)
    values = calibration(predicted, positive)
    without = [calibration(predicted[:, one], positive[one]) for one in ~np.eye(80, dtype=bool)]
    for name in QUANTITIES:
        changes = 79 * (values[name].mean() - np.array([other[name].mean() for other in without]))
        assert np.corrcoef(changes, values[name][0])[0, 1] > 0.98, name
        assert np.std(values[name]) == pytest.approx(np.std(changes), rel=0.15), name


def test_no_regression_where_scores_are_equal_or_separate_the_kinds() -> None:
    positive = np.arange(40) < 20
    for scores in (np.full((1, 40), 0.3), np.where(positive, 0.9, 0.2)[None], np.where(positive, 0.5, 0.5001)[None]):
        values = calibration(scores, positive)
        assert np.isnan(values["slope"]).all()
        assert np.isnan(values["intercept"]).all()
        assert np.isfinite(values["brier"]).all()


def test_likelihoods_of_a_fold_do_not_depend_on_it() -> None:
    predicted, positive, folds, _ = calibrated(200, 4)
    changed = np.where(folds == 2, ~positive, positive)
    own, other = (cross_fit(np.vstack([predicted, predicted]), one, folds) for one in (positive, changed))
    np.testing.assert_allclose(own[0], own[1])
    np.testing.assert_allclose(own[:, folds == 2], other[:, folds == 2])
    assert abs(own[:, folds != 2] - other[:, folds != 2]).max() > 0.05
    with pytest.raises(DataError, match="too few"):
        cross_fit(predicted, positive, np.zeros(200, int))


def test_bins_hold_equally_many_cases_and_keep_equal_scores_together() -> None:
    predicted, positive, _, _ = calibrated(200, 5)
    bins = reliability(predicted, positive, 0.95)
    assert [one.cases for one in bins] == [20] * 10
    assert sum(one.cases * one.observed for one in bins) == pytest.approx(positive.sum())
    assert sum(one.cases * one.predicted for one in bins) == pytest.approx(predicted.sum())
    twice = reliability(np.vstack([predicted, predicted]), positive, 0.95)
    assert [list(vars(one).values()) for one in twice] == [pytest.approx(list(vars(one).values())) for one in bins], (
        "a second training on the same cases does not narrow the intervals"
    )
    predicted[0, :93] = 0
    first, *others = reliability(predicted, positive, 0.95)
    assert (first.cases, first.predicted) == (93, 0)
    assert [one.cases for one in others] == [20, 20, 20, 20, 27]
    assert len(reliability(predicted[:, :9], positive[:9], 0.95)) == 1


@pytest.mark.parametrize(("hits", "count"), [(0, 7), (3, 20), (20, 20)])
def test_wilsons_interval_is_scipys(hits: int, count: int) -> None:
    theirs = binomtest(hits, count).proportion_ci(0.9, method="wilson")
    assert wilson(hits / count, count, 0.9) == pytest.approx((theirs.low, theirs.high))


def test_net_benefit_by_its_formula() -> None:
    predicted, positive, _, _ = calibrated(300, 6)
    thresholds = np.array([0.05, 0.2, 0.4])
    everyone = net_benefit(np.ones((1, 300)), positive, thresholds).mean(axis=(1, 2))
    share = positive.mean()
    np.testing.assert_allclose(everyone, share - (1 - share) * thresholds / (1 - thresholds))
    assert not net_benefit(np.zeros((1, 300)), positive, thresholds).any()
    found = net_benefit(predicted, positive, thresholds).mean(axis=(1, 2))
    for value, t in zip(found, thresholds, strict=True):
        chosen = predicted[0] >= t
        true, false = (chosen & positive).sum(), (chosen & ~positive).sum()
        assert value == pytest.approx(true / 300 - false / 300 * t / (1 - t))
    assert (net_benefit(positive[None].astype(float), positive, thresholds).mean(axis=(1, 2)) >= found).all()
