"""Scoring a case: lesion matching, post-processing, what is known about cases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nnunetv2_textguided.evaluation.cases import read_case_infos
from nnunetv2_textguided.evaluation.lesion_matching import match_lesions, results_as_text, results_of_text
from nnunetv2_textguided.evaluation.options import Scoring
from nnunetv2_textguided.evaluation.postprocess import postprocess
from nnunetv2_textguided.extras import require


@pytest.mark.parametrize("seed", range(12))
def test_lesions_are_matched_as_picai_eval_matches_them(seed: int) -> None:
    random = np.random.default_rng(seed)
    reference, detection = np.zeros((4, 36, 36), bool), np.zeros((4, 36, 36), np.float32)
    for cell in random.permutation(9)[: random.integers(1, 6)]:  # apart, as the lesions of a detection map have to be
        y, x = 12 * (cell // 3) + 4, 12 * (cell % 3) + 4
        down, right = random.integers(-3, 4, 2)
        reference[1:3, y : y + 4, x : x + 4] = random.random() < 0.8
        detection[1:3, y + down : y + down + 4, x + right : x + right + 4] = random.integers(0, 5) / 4
    candidates, lesions = match_lesions(reference, detection, detection > 0, 0.001)
    expected = require("picai_eval.eval").evaluate_case(y_det=detection, y_true=reference)[0]
    np.testing.assert_allclose(np.reshape(candidates, (-1, 3)), np.reshape(expected, (-1, 3)), atol=1e-9, rtol=0)
    found = [(1, lesion.confidence, lesion.iou) for lesion in lesions]
    assert sorted(found) == sorted(candidate for candidate in candidates if candidate[0])
    assert sum(lesion.volume_ml for lesion in lesions) == pytest.approx(reference.sum() / 1000)


def test_a_lesions_own_overlap() -> None:
    reference = np.zeros((1, 10, 20), bool)
    reference[0, 2:6, 2:6] = reference[0, 2:6, 12:16] = True
    mask = np.zeros_like(reference)
    mask[0, 2:6, 2:4] = True
    _, (hit, missed) = match_lesions(reference, mask.astype(np.float32), mask, 0.5)
    assert (hit.recall, hit.dice, hit.found, hit.volume_ml) == (0.5, 2 * 8 / (16 + 8), True, 8.0)
    assert (missed.recall, missed.dice, missed.found, missed.confidence) == (0, 0, False, 0)


def test_post_processing() -> None:
    mask = np.zeros((3, 12, 12), bool)
    mask[1, 1:5, 1:5] = True
    mask[1, 8:10, 8:10] = mask[0, 11, 0] = True
    assert postprocess(mask, Scoring()) is mask
    assert postprocess(mask, Scoring(min_voxels=2)).sum() == 20
    assert postprocess(mask, Scoring(largest_only=True)).sum() == 16
    assert postprocess(mask, Scoring(largest_only=True, min_voxels=17)).sum() == 0


def test_grades_of_several_lesions(tmp_path: Path) -> None:
    (tmp_path / "cases.csv").write_text('id,patient_id,case_ISUP,lesion_PIRADS\na,1,3.0,"3,5"\nb,2,,N/A\n')
    infos = read_case_infos(["a", "b"], tmp_path / "cases.csv")
    assert (infos["a"].isup, infos["a"].pirads) == (3, 5)
    assert (infos["b"].isup, infos["b"].pirads) == (None, None)


def test_what_was_found_survives_a_table_of_cases() -> None:
    found = ((1, 0.83, 0.4), (1, 0.0, 0.0), (0, 0.125, 0.0))
    assert results_as_text(found) == "1:0.83 1:0 0:0.125"
    assert results_of_text(results_as_text(found)) == tuple((lesion, sure, 0.0) for lesion, sure, _ in found)
    assert results_as_text(()) == "-", "nothing is not the same as not known"
    assert results_of_text("-") == ()
    for wrong in ("1", "1:2:3", "yes:0.5"):
        with pytest.raises(ValueError, match=r"unpack|literal"):
            results_of_text(wrong)
