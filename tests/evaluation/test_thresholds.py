"""Counts at thresholds, what follows from them, and what becomes of a difference at fitted thresholds."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from nnunetv2_textguided.evaluation.conventions import EmptyMask
from nnunetv2_textguided.evaluation.overlap import overlap_metrics
from nnunetv2_textguided.evaluation.threshold_comparison import (
    Finding,
    ModelAtThresholds,
    ThresholdComparison,
    at_thresholds,
    compare_at_thresholds,
    correct,
)
from nnunetv2_textguided.evaluation.thresholds import (
    HALF,
    THRESHOLDS,
    Curve,
    curve_of,
    curve_of_text,
    fit_across_folds,
    stack,
)

SHAPE, VOXEL_ML = (4, 12, 12), 0.01


def case(random: np.random.Generator, shift: float = 0.0, lesion: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Probability and reference; `shift` moves all logits of the same map."""
    reference = np.zeros(SHAPE, dtype=bool)
    if lesion:
        reference[1:3, 3:7, 3:8] = True
    logit = np.where(reference, 1.5, -2.5) + random.normal(0, 1.2, SHAPE) + shift
    return (1 / (1 + np.exp(-logit))).astype(np.float32), reference


def curve(random: np.random.Generator, shift: float = 0.0, lesion: bool = True) -> Curve:
    return curve_of(*case(random, shift, lesion), VOXEL_ML)


def test_counts_are_those_of_the_masks() -> None:
    probability, reference = case(np.random.default_rng(0))
    probability[0, 0, :3] = [0.5, 0, 1]
    found = curve_of(probability, reference, VOXEL_ML)
    for t, predicted, hits in zip(THRESHOLDS, found.predicted, found.hits, strict=True):
        mask = probability > t
        assert (predicted, hits) == (mask.sum(), (mask & reference).sum())
    assert (found.voxels, found.reference, THRESHOLDS[HALF]) == (reference.size, reference.sum(), 0.5)
    assert curve_of_text(found.as_text()) == found


@pytest.mark.parametrize("text", ["", "1/2/3", "10/2/0.1/1 2/1 2"])
def test_a_text_that_is_no_curve_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"values to unpack|thresholds|invalid literal"):
        curve_of_text(text)


@pytest.mark.parametrize("empty", list(EmptyMask))
def test_dice_at_every_threshold_is_the_overlap_metric_under_every_convention(empty: EmptyMask) -> None:
    random = np.random.default_rng(1)
    cases = [case(random), case(random, lesion=False), (np.zeros(SHAPE, np.float32), np.zeros(SHAPE, bool)),
             (np.zeros(SHAPE, np.float32), case(random)[1])]  # fmt: skip
    curves = stack([[[curve_of(*one, VOXEL_ML) for one in cases]]])
    for c, (probability, reference) in enumerate(cases):
        for t in (0, HALF, len(THRESHOLDS) - 1):
            expected = overlap_metrics(reference, probability > THRESHOLDS[t], (1, 1, 1), empty=empty)["dice"]
            assert curves.dice(empty)[0, 0, c, t] == pytest.approx(expected, nan_ok=True)


def test_false_volume_is_in_millilitres() -> None:
    probability, reference = case(np.random.default_rng(2), lesion=False)
    false = stack([[[curve_of(probability, reference, VOXEL_ML)]]]).false_ml()
    assert false[0, 0, 0, HALF] == pytest.approx((probability > 0.5).sum() * VOXEL_ML)


def test_average_precision_is_scikit_learn_s_and_needs_no_threshold() -> None:
    random = np.random.default_rng(3)
    cases = [case(random, lesion=lesion) for lesion in (True, False, True, True)]
    weights = np.array([[1.0, 1, 1, 1], [2, 0, 1, 1]])

    def of(curves: list[Curve]) -> np.ndarray:
        return stack([[curves]]).average_precision()[0](np.arange(4), weights)

    found = of([curve_of(*one, VOXEL_ML) for one in cases])
    for row, value in zip(weights, found, strict=True):
        flat = [np.concatenate([one[part].ravel() for one in cases]) for part in (1, 0)]
        sample = np.repeat(row, reference_size := cases[0][1].size)
        assert reference_size * 4 == sample.size
        assert value == pytest.approx(average_precision_score(*flat, sample_weight=sample), abs=0.003)
    random = np.random.default_rng(3)
    shifted = [case(random, shift=-1.0, lesion=lesion) for lesion in (True, False, True, True)]
    assert of([curve_of(*one, VOXEL_ML) for one in shifted]) == pytest.approx(found, abs=0.003)


def test_a_threshold_is_fitted_on_the_other_folds_alone_and_false_volume_has_its_price() -> None:
    random = np.random.default_rng(4)
    folds = np.repeat([0, 1], 12)
    # Fold 1's maps are lower than fold 0's: what suits the one does not suit the other.
    curves = stack([[[curve(random, -3.0 * fold, i % 2 == 0) for i, fold in enumerate(folds)]]])
    index = fit_across_folds(curves, folds)
    assert len(set(index[0, folds == 0])) == len(set(index[0, folds == 1])) == 1
    low, high = THRESHOLDS[index[0, 0]], THRESHOLDS[index[0, -1]]
    assert low < 0.2 < 0.4 < high  # fold 0's is fitted on fold 1
    assert curves.fitted(folds == 1)[0] == index[0, 0]
    free, dear = (THRESHOLDS[curves.fitted(folds == 0, price)[0]] for price in (0.0, 100.0))
    assert free <= high < dear
    assert (fit_across_folds(curves, np.zeros(24)) == -1).all()  # no other fold


def models(shift: float, gain: float, seed: int = 5) -> tuple[ModelAtThresholds, ModelAtThresholds, list[str]]:
    """Two models of two repeats on four folds: the baseline's maps are shifted, the model's have more contrast."""
    made = []
    folds, lesion = np.repeat(np.arange(4), 12), np.arange(48) % 3 > 0
    for moved, better in ((0.0, gain), (shift, 0.0)):
        repeats = []
        for repeat in range(2):
            cases = []
            for i in range(48):
                probability, reference = case(np.random.default_rng([seed, repeat, i]), 0.0, bool(lesion[i]))
                logit = np.log(probability / (1 - probability)) + moved + better * np.where(reference, 1, -1)
                cases.append(curve_of(1 / (1 + np.exp(-logit)), reference, VOXEL_ML))
            repeats.append([cases])
        made.append(at_thresholds(stack(repeats), folds))
    return made[0], made[1], [f"p{i}" for i in range(48)]


def compared(shift: float, gain: float) -> ThresholdComparison:
    return compare_at_thresholds(*models(shift, gain))


def test_a_difference_of_thresholds_vanishes_where_they_are_fitted_and_a_better_map_remains_better() -> None:
    cut = compared(shift=-2.0, gain=0.0)
    assert cut.half.p < 0.001
    assert cut.half.value > 0.05
    assert abs(cut.fitted.value) < 0.02
    assert abs(cut.precision.value) < 0.005
    assert cut.finding is Finding.OF_THRESHOLDS
    assert "it is a difference of thresholds" in cut.sentence("A", "B")
    map_ = compared(shift=0.0, gain=0.7)
    assert map_.finding is Finding.REMAINS
    assert map_.precision.ends.low > 0
    assert "remains at thresholds fitted on the other folds" in map_.sentence("A", "B")
    none = compared(shift=0.0, gain=0.0)
    assert none.finding is Finding.NEITHER
    assert none.half.value == none.fitted.value == 0


def test_without_probabilities_nothing_is_said() -> None:
    folds, patients = np.repeat([0, 1], 2), ["a", "b", "c", "d"]
    random = np.random.default_rng(6)
    known = at_thresholds(stack([[[curve(random) for _ in range(4)]]]), folds)
    nothing = at_thresholds(stack([[[None] * 4]]), folds)
    assert known.known
    assert not nothing.known
    found = compare_at_thresholds(known, nothing, patients)
    assert found.finding is Finding.UNKNOWN
    assert found.sentence("A", "B") == ""
    assert nothing.thresholds == {0: (), 1: ()}


def test_p_values_are_corrected_over_the_comparisons() -> None:
    one = compared(shift=-2.0, gain=0.0)
    assert [c.p_half for c in correct([one, one])] == pytest.approx([2 * one.half.p] * 2)
