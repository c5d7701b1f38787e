"""Reading predictions: each file once, and only what are probabilities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.evaluation.options import Scoring
from nnunetv2_textguided.evaluation.predictions import Files, Kind, read_prediction, read_predictions
from nnunetv2_textguided.evaluation.score import ScoreJob, score_case
from nnunetv2_textguided.nnunet.labels import PICAI_TARGET, Target

ONE, TWO = (Target(name, frozenset((value,)), value) for name, value in (("one", 1), ("two", 2)))


def softmax(classes: int, dtype: type = np.float32) -> np.ndarray:
    logits = np.random.default_rng(0).normal(0, 3, (classes, 4, 12, 12))
    return (np.exp(logits) / np.exp(logits).sum(axis=0)).astype(dtype)


def saved(path: Path, values: np.ndarray) -> Files:
    np.savez_compressed(path, probabilities=values)
    return Files(path)


def written(path: Path, values: np.ndarray) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(values), str(path))
    return path


def test_all_classes_of_a_case_are_scored_from_one_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = softmax(3)
    files = saved(tmp_path / "a.npz", values)
    label = written(tmp_path / "label.nii.gz", values.argmax(axis=0).astype(np.uint8))
    opened: list[Path] = []
    load = np.load
    monkeypatch.setattr(np, "load", lambda path, **options: (opened.append(path), load(path, **options))[1])
    scores = score_case(ScoreJob("a", label, {"model": files}, (ONE, TWO), Scoring()))["model"]
    assert opened == [files.probabilities]
    assert [score.overlap["dice"] for score in scores.values()] == [1, 1]
    for target in (ONE, TWO):
        np.testing.assert_array_equal(read_prediction(files, target).map, values[target.channel])


def test_half_precision_is_precise_enough(tmp_path: Path) -> None:
    values = softmax(40, np.float16)
    assert np.abs(values.sum(axis=0, dtype=np.float32) - 1).max() > 1e-4
    assert read_prediction(saved(tmp_path / "a.npz", values), ONE).kind is Kind.PROBABILITIES


def test_regions_need_not_add_up_but_have_to_be_probabilities(tmp_path: Path) -> None:
    region = Target("lesion", frozenset((1, 2)), 0, regions=True)
    files = saved(tmp_path / "a.npz", np.full((2, 4, 12, 12), 0.9, np.float32))
    assert read_prediction(files, region).mask.all()
    with pytest.raises(DataError, match=r"add up to 1\.8 in a voxel"):
        read_prediction(files, ONE)
    files = saved(tmp_path / "b.npz", np.full((2, 4, 12, 12), 1.2, np.float32))
    with pytest.raises(DataError, match=r"values from 1\.2 to 1\.2") as caught:
        read_prediction(files, region)
    assert caught.value.where == files.probabilities
    assert "not logits" in str(caught.value.remedy)


@pytest.mark.parametrize("scale", [-1.0, 7.0, float("nan")])
def test_a_map_of_no_probabilities_is_an_error_that_names_file_and_remedy(tmp_path: Path, scale: float) -> None:
    path = written(tmp_path / "a.mha", softmax(2)[1] * np.float32(scale))
    with pytest.raises(DataError, match="these are no probabilities") as caught:
        read_predictions(Files(image=path), (PICAI_TARGET,))
    assert caught.value.where == path
    assert "not logits" in str(caught.value.remedy)


def test_confidences_of_a_detection_map_may_be_any_positive_numbers(tmp_path: Path) -> None:
    values = np.zeros((4, 12, 12), np.float32)
    values[1, 2:5, 2:5], values[2, 8:10, 8:10] = 7.5, 3.0
    prediction = read_prediction(Files(image=written(tmp_path / "a.nii.gz", values)), PICAI_TARGET)
    assert (prediction.kind, prediction.map.max()) == (Kind.DETECTION_MAP, 7.5)


CSPCA_2 = Target("csPCa", frozenset((2,)), 2, known=frozenset((0, 1, 2)))


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32, np.float64])
def test_a_mask_is_one_whatever_its_voxels_type(tmp_path: Path, kind: type) -> None:
    values = np.zeros((4, 12, 12), kind)
    values[1, 2:5, 2:5], values[2, 8:10, 8:10] = 1, 2
    prediction = read_prediction(Files(image=written(tmp_path / "a.nii.gz", values)), CSPCA_2)
    assert prediction.kind is Kind.MASK
    assert np.array_equal(prediction.mask, values == 2)
    assert prediction.map.max() == 1, "a label's number is no confidence"


def test_a_map_that_may_be_mask_or_confidences_is_not_guessed(tmp_path: Path) -> None:
    values = np.zeros((4, 12, 12), np.float32)
    values[1, 2:5, 2:5] = 1
    with pytest.raises(DataError, match="may be a label map, where 1 is not csPCa, or a map of confidences"):
        read_prediction(Files(image=written(tmp_path / "a.nii.gz", values)), CSPCA_2)
    named = written(tmp_path / "a.b_detection_map.nii.gz", values)
    assert read_prediction(Files(image=named), CSPCA_2).kind is Kind.DETECTION_MAP
    # Where 1 is the lesion, both are the same.
    assert read_prediction(Files(image=written(tmp_path / "b.nii.gz", values)), PICAI_TARGET).mask.sum() == 9


@pytest.mark.parametrize("value", [-1, 7, 200])
@pytest.mark.parametrize("part", ["label", "prediction"])
def test_values_that_no_label_has_are_an_error(tmp_path: Path, part: str, value: int) -> None:
    masks = {name: np.zeros((4, 12, 12), np.int16) for name in ("label", "prediction")}
    masks[part][1, 2:5, 2:5] = value
    paths = {name: written(tmp_path / f"{name}.nii.gz", mask) for name, mask in masks.items()}
    for target, allowed in ((CSPCA_2, r"\[0, 1, 2\]"), (PICAI_TARGET, r"\[0, 1, 2, 3, 4, 5\]")):
        job = ScoreJob("a", paths["label"], {"m": Files(image=paths["prediction"])}, (target,), Scoring())
        with pytest.raises(DataError, match=rf"values \[{value}\]; allowed are {allowed}") as caught:
            score_case(job)
        assert caught.value.where == paths[part]


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".mha", ".nrrd"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("what", ["map", "reference"])
def test_voxels_that_are_not_finite_are_no_zeros(tmp_path: Path, ending: str, value: float, what: str) -> None:
    """ITK's reader of NIfTI turns them into zeros and says nothing."""
    mask = np.zeros((4, 12, 12), np.float32)
    mask[1:3, 4:8, 4:8] = 1
    spoilt = mask.copy()
    spoilt[0, 0, :3] = value
    image = written(tmp_path / f"map{ending}", (spoilt if what == "map" else mask) * np.float32(0.9))
    label = written(tmp_path / f"label{ending}", spoilt if what == "reference" else mask.astype(np.uint8))
    with pytest.raises(DataError, match=r"infinite|NaN|nan|inf"):
        score_case(ScoreJob("a", label, {"model": Files(None, image)}, (ONE,), Scoring()))
