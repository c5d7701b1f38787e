"""Agreement to 1e-9 with picai_eval and report_guided_annotation called directly, and to float32 with MONAI."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy import ndimage

from nnunetv2_textguided.evaluation.crowded import extract_crowded, is_crowded
from nnunetv2_textguided.evaluation.detection import extract_candidates
from nnunetv2_textguided.evaluation.detection_metrics import Found, picai_metrics
from nnunetv2_textguided.evaluation.lesion_matching import match_lesions
from nnunetv2_textguided.evaluation.options import Resampling, Scoring
from nnunetv2_textguided.evaluation.overlap import overlap_metrics
from nnunetv2_textguided.evaluation.surface import surface_areas
from nnunetv2_textguided.extras import require
from nnunetv2_textguided.nnunet.labels import PICAI_TARGET
from nnunetv2_textguided.picai.evaluation import plan_evaluation, run_evaluation

from . import challenge_maps


def cohort(number: int = 12) -> list[tuple[np.ndarray, np.ndarray]]:
    """Softmax maps and references: lesions found, missed and imagined, over low background noise."""
    cases = []
    for seed in range(number):
        random = np.random.default_rng(seed)
        softmax = ndimage.gaussian_filter(random.random((12, 40, 40)), 1.5)
        softmax = np.clip((softmax - 0.47) * 3, 0, 1)
        reference = np.zeros(softmax.shape, dtype=bool)
        for _ in range(seed % 3):
            z, y, x = (int(random.integers(2, n - 8)) for n in softmax.shape)
            reference[z : z + 3, y : y + 7, x : x + 7] = True
            softmax[z : z + 3, y + seed % 4 : y + 6, x : x + 6] = random.uniform(0.2, 0.95)
        cases.append((softmax.astype(np.float32), reference))
    return cases


def test_scores_equal_picai_evals_on_softmax_maps() -> None:
    library = require("picai_eval")
    extraction = require("report_guided_annotation").extract_lesion_candidates
    cases = {f"c{i:02d}": case for i, case in enumerate(cohort())}
    direct = library.evaluate(
        y_det=[softmax for softmax, _ in cases.values()],
        y_true=[reference.astype(int) for _, reference in cases.values()],
        subject_list=list(cases),
        y_det_postprocess_func=lambda softmax: extraction(softmax, threshold="dynamic")[0],
        num_parallel_calls=1,
    )
    maps = {name: extract_candidates(softmax) for name, (softmax, _) in cases.items()}
    candidates = tuple(match_lesions(r, maps[name], maps[name] > 0, 1.0)[0] for name, (_, r) in cases.items())
    ours = picai_metrics(list(cases), Found(candidates, np.array([map_.max() for map_ in maps.values()])))
    assert 0.3 < direct.auroc < 1
    assert 0 < direct.AP < 1
    for name in ("auroc", "AP", "score"):
        assert getattr(ours, name) == pytest.approx(getattr(direct, name), abs=1e-9)
    for rate in (0.5, 1, 2):
        assert ours.lesion_TPR_at_FPR(rate) == pytest.approx(direct.lesion_TPR_at_FPR(rate), abs=1e-9)
    for name in cases:
        np.testing.assert_allclose(ours.lesion_results[name], direct.lesion_results[name], atol=1e-9, rtol=0)


@pytest.mark.parametrize("threshold", ["dynamic", "dynamic-fast", 0.3])
def test_extraction_on_the_bounding_box_is_the_extraction_on_the_volume(threshold: str | float) -> None:
    library = require("report_guided_annotation")
    for softmax, _ in cohort(6):
        padded = np.pad(softmax, ((2, 3), (10, 20), (5, 0)))
        whole = library.extract_lesion_candidates(padded, threshold=threshold)[0]
        assert whole.any()
        np.testing.assert_array_equal(extract_candidates(padded, threshold), whole)


def noisy(seed: int) -> np.ndarray:
    """A hardly trained network's map: many blobs, some of equal height, touching and tiny ones."""
    random = np.random.default_rng(seed)
    sigma = (0.0, 0.6, 1.0, 1.5)[seed % 4]
    softmax = ndimage.gaussian_filter(random.random((6, 24, 24)), sigma) * (0.06 if seed % 3 else 0.9)
    if seed % 2:
        softmax = np.round(softmax, 2)  # ties
    return softmax.astype(np.float32)


@pytest.mark.parametrize("seed", range(24))
def test_extraction_from_crowded_maps_is_the_librarys_voxel_for_voxel(seed: int) -> None:
    library = require("report_guided_annotation")
    softmax = noisy(seed)
    whole = library.extract_lesion_candidates(softmax, threshold="dynamic")[0]
    np.testing.assert_array_equal(extract_crowded(softmax), whole)
    for case, _ in cohort(3):
        whole = library.extract_lesion_candidates(case, threshold="dynamic")[0]
        np.testing.assert_array_equal(extract_crowded(case), whole)


def test_a_map_with_a_thousand_blobs_takes_seconds_not_hours() -> None:
    random = np.random.default_rng(0)
    softmax = np.zeros((20, 128, 128), dtype=np.float32)
    softmax[2::5, 2::5, 2::5] = random.uniform(0.05, 0.08, softmax[2::5, 2::5, 2::5].shape)
    softmax = ndimage.maximum_filter(softmax, 3)
    assert is_crowded(softmax)
    start = time.process_time()
    detection = extract_candidates(softmax)
    assert np.unique(detection[detection > 0]).size == 5
    assert detection.max() == softmax.max()
    assert time.process_time() - start < 10


@pytest.mark.parametrize("fill", [0.0, 0.003, 0.0099, 0.02])
def test_a_map_without_a_finding_yields_what_the_challenge_yields(fill: float) -> None:
    library = require("report_guided_annotation")
    softmax = np.full((4, 12, 12), fill, dtype=np.float32)
    whole = library.extract_lesion_candidates(softmax, threshold="dynamic")[0]
    np.testing.assert_array_equal(extract_candidates(softmax), whole)


def test_blobs_of_ten_voxels_are_dropped_and_eleven_are_kept() -> None:
    softmax = np.zeros((3, 20, 20), dtype=np.float32)
    softmax[1, 2, 2:12] = 0.9
    assert not extract_candidates(softmax).any()
    softmax[1, 2, 12] = 0.9
    assert np.count_nonzero(extract_candidates(softmax)) == 11


def test_the_challenges_own_test_cases_give_its_published_results(tmp_path: Path) -> None:
    for case in challenge_maps.CASES:
        detection, reference = challenge_maps.maps(case)
        for values, folder, end in ((detection, "predictions", "_detection_map"), (reference, "labels", "_label")):
            (tmp_path / folder).mkdir(exist_ok=True)
            sitk.WriteImage(sitk.GetImageFromArray(values), str(tmp_path / folder / f"{case}{end}.nii.gz"))
    jobs, unpredicted = plan_evaluation(tmp_path / "predictions", tmp_path / "labels", PICAI_TARGET, Scoring())
    assert unpredicted == ()
    evaluation = run_evaluation(jobs, unpredicted, Resampling(20), workers=1, progress=False)
    assert evaluation.detection["auroc"].value == pytest.approx(challenge_maps.EXPECTED_AUROC, abs=1e-9)
    assert evaluation.detection["ap"].value == pytest.approx(challenge_maps.EXPECTED_AP, abs=1e-9)
    assert evaluation.metrics.num_lesions == 10
    assert (evaluation.metrics.lesion_TP[-2], evaluation.metrics.lesion_FP[-2]) == (5, 4)
    for case, expected in challenge_maps.EXPECTED_RESULTS.items():
        found = np.array(evaluation.cases[case].candidates).reshape(-1, 3)
        np.testing.assert_allclose(found, np.array(expected).reshape(-1, 3), atol=1e-9)
        assert evaluation.cases[case].score == challenge_maps.EXPECTED_SCORES[case]


def robust_hausdorff(distances: Sequence[np.ndarray], areas: Sequence[np.ndarray], percent: float) -> float:
    """The largest of both directions' percentiles of MONAI's distances, weighted by its areas."""
    ends = []
    for distance, area in zip(distances, areas, strict=True):
        order = np.argsort(distance)
        share = np.cumsum(area[order]) / area.sum()
        ends.append(distance[order][np.searchsorted(share, percent / 100)])
    return float(max(ends))


@pytest.mark.parametrize("seed", range(8))
def test_surface_and_voxel_metrics_equal_monais(seed: int) -> None:
    metrics = pytest.importorskip("monai.metrics", reason="not installed")
    utilities = pytest.importorskip("monai.metrics.utils", reason="not installed")
    random = np.random.default_rng(seed)
    spacing = [3.0, 0.5, 0.6]
    masks = [ndimage.gaussian_filter(random.random((10, 30, 30)), 2) > 0.51 for _ in range(2)]
    ours = overlap_metrics(*masks, spacing)
    reference, prediction = (torch.from_numpy(mask) for mask in masks)
    edges, distances, areas = utilities.get_edge_surface_distance(
        prediction, reference, use_subvoxels=True, spacing=spacing, symmetric=True
    )
    from_both = [np.asarray(distance, dtype=float) for distance in distances]
    weights = [np.asarray(area[edge], dtype=float) for area, edge in zip(areas, edges, strict=True)]
    assert ours["hd95"] == pytest.approx(robust_hausdorff(from_both, weights, 95), abs=1e-5)
    batch = (prediction[None, None], reference[None, None])
    for tolerance in (1, 2):
        direct = metrics.compute_surface_dice(
            *batch, [float(tolerance)], include_background=True, spacing=spacing, use_subvoxels=True
        )
        assert ours[f"nsd_{tolerance}mm"] == pytest.approx(direct.item(), abs=1e-6)
    assert ours["dice"] == pytest.approx(metrics.compute_dice(*batch).item(), abs=1e-6)
    harmonic = 2 * ours["precision"] * ours["recall"] / (ours["precision"] + ours["recall"])
    assert ours["dice"] == pytest.approx(harmonic)


@pytest.mark.parametrize("spacing", [(3.0, 0.5, 0.6), (1.0, 1.0, 1.0), (0.3, 2.0, 5.0)])
def test_areas_of_surfaces_equal_monais(spacing: tuple[float, ...]) -> None:
    utilities = pytest.importorskip("monai.metrics.utils", reason="not installed")
    expected, _ = utilities.create_table_neighbour_code_to_surface_area(spacing)
    np.testing.assert_allclose(surface_areas(spacing), np.asarray(expected), rtol=1e-6)


def test_the_surface_of_a_large_box_has_the_boxs_area() -> None:
    areas = surface_areas((3.0, 0.5, 0.8))
    above, below, left = 0b00001111, 0b11110000, 0b01010101
    assert areas[above] == areas[below] == pytest.approx(0.5 * 0.8)
    assert areas[left] == pytest.approx(3.0 * 0.5)
    assert areas[0] == areas[255] == 0
    assert (areas[1:255] > 0).all()


def test_a_shift_of_one_voxel_is_that_many_millimetres_on_each_axis() -> None:
    mask = np.zeros((20, 20, 20), dtype=bool)
    mask[6:14, 6:14, 6:14] = True
    for axis, millimetres in enumerate((3.0, 0.5, 0.8)):
        metrics = overlap_metrics(mask, np.roll(mask, 1, axis), (3.0, 0.5, 0.8))
        assert metrics["hd95"] == pytest.approx(millimetres)
        assert metrics["dice"] == pytest.approx(7 / 8)
        assert not any(math.isnan(v) for v in metrics.values())
