"""AUROC, AP and lesion sensitivity: picai_eval's, in every weighting of the cases."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nnunetv2_textguided.evaluation.bootstrap import draw
from nnunetv2_textguided.evaluation.detection_metrics import Found, LesionCurve, detection, picai_metrics
from nnunetv2_textguided.evaluation.metrics import FALSE_POSITIVES_PER_CASE
from nnunetv2_textguided.extras import require


def random_found(random: np.random.Generator, cases: int) -> Found:
    """Candidates and scores with ties, missed lesions and empty cases."""
    candidates = []
    for _ in range(cases):
        rows = [(int(random.random() < 0.5), float(random.integers(1, 9)) / 8, 0.5) for _ in range(random.integers(4))]
        rows += [(1, 0.0, 0.0)] * int(random.random() < 0.2)
        candidates.append(tuple(rows))
    return Found(tuple(candidates), random.integers(0, 9, cases) / 8)


@pytest.mark.filterwarnings("ignore:No negative samples")
@pytest.mark.parametrize("seed", range(8))
def test_detection_is_picai_evals_in_every_replicate(seed: int) -> None:
    random = np.random.default_rng(seed)
    found = random_found(random, 25)
    weights = np.vstack([np.ones(25, int), draw([str(i // 2) for i in range(25)], 12, seed)])
    made = detection(found, weights)
    for row, weight in enumerate(weights):
        drawn = {f"{i}-{k}": i for i, times in enumerate(weight) for k in range(times)}
        repeated = Found(tuple(found.candidates[i] for i in drawn.values()), found.scores[list(drawn.values())])
        metrics = picai_metrics(list(drawn), repeated)
        assert made["auroc"][row] == pytest.approx(metrics.auroc, nan_ok=True)
        assert made["ap"][row] == pytest.approx(metrics.AP, nan_ok=True)
        for rate in FALSE_POSITIVES_PER_CASE:
            assert made[f"sensitivity_at_{rate:g}_fp"][row] == pytest.approx(metrics.lesion_TPR_at_FPR(rate))


def test_detection_is_undefined_without_lesions_or_without_negatives() -> None:
    ones = np.ones((1, 2))
    nothing = detection(Found(((), ((0, 0.4, 0.0),)), np.array([0.0, 0.4])), ones)
    assert all(np.isnan(values[0]) for values in nothing.values())
    positives = detection(Found((((1, 0.9, 0.5),), ((1, 0.0, 0.0),)), np.array([0.9, 0.0])), ones)
    assert np.isnan(positives["auroc"][0])
    assert positives["ap"][0] == pytest.approx(0.5)


def candidates(seed: int, cases: int) -> dict[str, list[tuple[int, float, float]]]:
    random = np.random.default_rng(seed)
    made: dict[str, list[tuple[int, float, float]]] = {}
    for number in range(cases):
        found = [(0, float(random.choice((0.1, 0.3, 0.5, 0.9))), 0.0) for _ in range(random.integers(0, 4))]
        for _ in range(random.integers(0, 3)):
            hit = random.random() < 0.7
            found.append((1, float(random.choice((0.2, 0.5, 0.8))) if hit else 0.0, 0.5 if hit else 0.0))
        made[f"c{number}"] = found
    return made


@pytest.mark.parametrize("seed", range(6))
def test_sensitivity_in_replicates_is_picai_evals_on_the_repeated_cases(seed: int) -> None:
    metrics = require("picai_eval").Metrics
    made = candidates(seed, cases=7)
    names, rates = list(made), (0.5, 1.0, 2.0, 3 / 7)
    weights = draw(names, 40, seed)
    found = LesionCurve(list(made.values())).sensitivity(weights, rates)
    for row, drawn in zip(weights, found, strict=True):
        repeated = {f"{n}-{k}": made[n] for n, times in zip(names, row, strict=True) for k in range(times)}
        direct = metrics(lesion_results=repeated)
        lesions = sum(is_lesion for found in repeated.values() for is_lesion, _, _ in found)
        # picai_eval counts in float32; numpy before 2 compares that with 3/7 in double precision, which is less.
        expected = [direct.lesion_TPR_at_FPR(np.float32(rate)) if lesions else math.nan for rate in rates]
        np.testing.assert_allclose(drawn, expected, atol=1e-6)


def test_no_candidate_at_all_has_no_sensitivity() -> None:
    assert np.isnan(LesionCurve([[], []]).sensitivity(np.ones((3, 2), int), (1.0,))).all()
