"""Candidates: found, numbered, measured in millimetres and patient coordinates."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_textguided.errors import DataError, TextGuidedError
from nnunetv2_textguided.inference.lesions import (
    check_candidates,
    detection_map,
    max_diameter,
    measure_candidates,
    slice_axis,
)
from nnunetv2_textguided.inference.zones import NAMES, read_zones
from tests.inference.models import ball
from tests.inference.test_geometry import rotated

SHAPE, SPACING = (16, 48, 40), np.array([2.4, 0.8, 0.7])


@pytest.fixture
def like() -> sitk.Image:
    return rotated(SHAPE)


def test_diameter_of_known_shapes() -> None:
    one = np.ones((1, 1, 1), bool)
    assert max_diameter(one, np.array([3.0, 0.5, 0.4])) == pytest.approx(3.0)
    assert max_diameter(np.ones((1, 1, 10), bool), np.array([1.0, 1.0, 0.5])) == pytest.approx(5.0)
    sphere = ball((9, 41, 41), (4, 20, 20), 8.0, (2.0, 0.5, 0.5))
    assert max_diameter(sphere, np.array([2.0, 0.5, 0.5])) == pytest.approx(16.0, abs=2.1)


def test_diameter_finds_the_farthest_of_all_pairs() -> None:
    from scipy.spatial.distance import pdist

    rng = np.random.default_rng(0)
    inside = rng.random((5, 6, 7)) > 0.8
    spacing = np.array([3.0, 1.0, 0.7])
    half = np.diag(spacing) / 2
    faces = np.concatenate([np.argwhere(inside) * spacing + offset for offset in (*half, *-half)])
    assert max_diameter(inside, spacing) == pytest.approx(pdist(faces).max())


def test_candidates_are_measured_in_patient_space(like: sitk.Image) -> None:
    truth = ball(SHAPE, (8, 20, 25), 6.0, SPACING)
    probability = np.where(truth, 0.6, 0.01).astype(np.float32)
    probability[8, 20, 25] = 0.9
    heatmap = np.where(truth, 0.75, 0.1).astype(np.float32)
    zones = np.zeros(SHAPE, np.int32)
    zones[:, :, :10], zones[:, :, 10:] = 2, 1
    detection = detection_map(probability, truth, "mask")
    (found,), numbers = measure_candidates(detection, probability, heatmap, zones, like, NAMES)
    assert np.array_equal(numbers > 0, truth)
    assert found.volume_ml == pytest.approx(truth.sum() * SPACING.prod() / 1000)
    assert found.diameter_mm == pytest.approx(12.0, abs=2.5)
    assert found.centroid_lps_mm == pytest.approx(like.TransformContinuousIndexToPhysicalPoint((25, 20, 8)), abs=0.05)
    assert found.centroid_voxel == pytest.approx((25, 20, 8), abs=0.05)
    assert (found.confidence, found.peak_probability) == (pytest.approx(0.9), pytest.approx(0.9))
    assert 0.6 < found.mean_probability < 0.61
    assert found.mean_heatmap == pytest.approx(0.75)
    assert (found.zone, found.key_slice) == ("PZ", 8)


def test_candidates_are_numbered_by_confidence_and_key_slices_cut_the_thick_axis(like: sitk.Image) -> None:
    weak, strong = ball(SHAPE, (4, 10, 10), 4.0, SPACING), ball(SHAPE, (11, 35, 30), 4.0, SPACING)
    probability = np.select([weak, strong], [0.3, 0.8], 0.0).astype(np.float32)
    found, numbers = measure_candidates(
        detection_map(probability, weak | strong, "mask"), probability, None, None, like, NAMES
    )
    assert [round(c.confidence, 2) for c in found] == [0.8, 0.3]
    assert (numbers[11, 35, 30], numbers[4, 10, 10]) == (1, 2)
    assert [c.key_slice for c in found] == [11, 4]
    assert (found[0].mean_heatmap, found[0].zone) == (None, None)
    assert slice_axis((0.5, 0.5, 3.0)) == 2
    assert slice_axis((1.0, 1.0, 1.0)) == 0


def test_nothing_found_is_an_empty_map_and_no_candidate(like: sitk.Image) -> None:
    empty = np.zeros(SHAPE, np.float32)
    for method in ("mask", "dynamic"):
        detection = detection_map(empty, empty > 0, method)
        assert not detection.any()
        assert measure_candidates(detection, empty, None, None, like, NAMES)[0] == []


def test_dynamic_candidates_are_accepted_by_picai_eval() -> None:
    picai_eval = pytest.importorskip("picai_eval")
    truth = ball(SHAPE, (8, 20, 25), 6.0, SPACING)
    probability = np.where(truth, 0.7, 0.001).astype(np.float32)
    detections = [detection_map(p, p > 0.5, "dynamic") for p in (probability, np.zeros_like(probability))]
    metrics = picai_eval.evaluate(y_det=detections, y_true=[truth.astype(np.uint8), np.zeros(SHAPE, np.uint8)])
    assert (metrics.auroc, metrics.AP) == (1.0, 1.0)


def test_a_missing_package_is_named_before_anything_is_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "report_guided_annotation", None)
    with pytest.raises(TextGuidedError, match=r"nnunetv2-textguided\[picai\]"):
        check_candidates("dynamic")
    check_candidates("mask")
    for wrong in ("1.5", "all"):
        with pytest.raises(DataError, match="no way to find candidates"):
            check_candidates(wrong)


def test_zone_masks_are_brought_onto_the_images_grid(tmp_path: Path, like: sitk.Image) -> None:
    coarse = sitk.Image((20, 24, 16), sitk.sitkUInt8)
    coarse.SetDirection(like.GetDirection())
    coarse.SetSpacing((1.4, 1.6, 2.4))
    coarse.SetOrigin(like.TransformContinuousIndexToPhysicalPoint((0.5, 0.5, 0.0)))
    coarse[10:, :, :] = 2
    sitk.WriteImage(coarse, str(tmp_path / "a.nii.gz"))
    zones = read_zones(tmp_path, "a", like)
    assert not zones[:, :, :20].any()
    assert (zones[:, :, 20:] == 2).all()
    coarse.SetOrigin((1000, 0, 0))
    sitk.WriteImage(coarse, str(tmp_path / "far.nii.gz"))
    for case, reason in (("far", "outside of the image"), ("none", "has no zone mask")):
        with pytest.raises(DataError, match=reason):
            read_zones(tmp_path, case, like)
