"""Empty masks: each convention is a table, and no value is an accident."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nnunetv2_textguided.evaluation.conventions import OVERLAP_METRICS, EmptyMask, MissedDistance
from nnunetv2_textguided.evaluation.overlap import diagonal, overlap_metrics, voxel_metrics
from nnunetv2_textguided.evaluation.surface import surface_metrics

EMPTY = np.zeros((4, 10, 10), dtype=bool)
FULL = EMPTY.copy()
FULL[1:3, 2:7, 2:7] = True
SPACING = (3.0, 0.5, 0.5)
NAN = math.nan

# convention -> (both empty, false alarm, missed lesion), each (dice, precision, recall, nsd, hd95)
TABLE = {
    EmptyMask.POSITIVES_ONLY: ((NAN,) * 5, (NAN,) * 5, (0, 0, 0, 0, NAN)),
    EmptyMask.PAPER: ((1, 1, 1, 1, 0), (0, 0, 0, 0, NAN), (0, 0, 0, 0, NAN)),
    EmptyMask.NNUNET: ((NAN,) * 5, (0, 0, NAN, 0, NAN), (0, NAN, 0, 0, NAN)),
}


def five(metrics: dict[str, float]) -> list[float]:
    assert tuple(metrics) == OVERLAP_METRICS or set(metrics) == set(OVERLAP_METRICS)
    assert metrics["nsd_1mm"] == pytest.approx(metrics["nsd_2mm"], nan_ok=True)
    return [metrics[k] for k in ("dice", "precision", "recall", "nsd_1mm", "hd95")]


@pytest.mark.parametrize("convention", EmptyMask)
def test_every_convention_is_as_the_table_says(convention: EmptyMask) -> None:
    pairs = ((EMPTY, EMPTY), (EMPTY, FULL), (FULL, EMPTY))
    for (reference, prediction), expected in zip(pairs, TABLE[convention], strict=True):
        found = five(overlap_metrics(reference, prediction, SPACING, empty=convention))
        np.testing.assert_array_equal(found, expected)
    assert five(overlap_metrics(FULL, FULL, SPACING, empty=convention)) == [1, 1, 1, 1, 0]


@pytest.mark.parametrize("convention", EmptyMask)
def test_the_diagonal_replaces_only_distances_of_cases_that_count(convention: EmptyMask) -> None:
    kwargs = {"empty": convention, "missed": MissedDistance.DIAGONAL}
    length = diagonal(FULL.shape, SPACING)
    assert length == pytest.approx(math.hypot(12, 5, 5))
    assert overlap_metrics(FULL, EMPTY, SPACING, **kwargs)["hd95"] == length
    alarm = overlap_metrics(EMPTY, FULL, SPACING, **kwargs)["hd95"]
    assert math.isnan(alarm) if convention is EmptyMask.POSITIVES_ONLY else alarm == length
    both = overlap_metrics(EMPTY, EMPTY, SPACING, **kwargs)["hd95"]
    assert both == 0 if convention is EmptyMask.PAPER else math.isnan(both)


def test_the_nnunet_convention_is_nnunets_own_dice() -> None:
    from nnunetv2.evaluation.evaluate_predictions import compute_tp_fp_fn_tn

    for reference, prediction in ((EMPTY, EMPTY), (EMPTY, FULL), (FULL, EMPTY), (FULL, np.roll(FULL, 1, 2))):
        tp, fp, fn, _ = compute_tp_fp_fn_tn(reference, prediction)
        expected = NAN if tp + fp + fn == 0 else 2 * tp / (2 * tp + fp + fn)
        found = overlap_metrics(reference, prediction, SPACING, empty=EmptyMask.NNUNET)["dice"]
        np.testing.assert_allclose(found, expected)


def test_every_convention_describes_itself() -> None:
    assert len({c.description for c in EmptyMask}) == len(EmptyMask)
    assert len({m.description for m in MissedDistance}) == len(MissedDistance)


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        overlap_metrics(FULL, FULL[1:], SPACING)
    with pytest.raises(ValueError, match="Boolean"):
        overlap_metrics(FULL.astype(int), FULL.astype(int), SPACING)
    with pytest.raises(ValueError, match="EmptyMask decides"):
        surface_metrics(FULL, EMPTY, SPACING)


def test_voxel_metrics_count_voxels() -> None:
    other = EMPTY.copy()
    other[1, 2:7, 2:7] = True
    other[3, 0, 0:25] = True
    metrics = voxel_metrics(FULL, other)
    assert metrics == pytest.approx({"dice": 50 / (50 + 35), "precision": 25 / 35, "recall": 25 / 50})
