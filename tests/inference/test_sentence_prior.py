"""What sentences are worth beside the image: fitted on a model's validation cases, applied to new patients."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetNumpy

from nnunetv2_textguided.cli import main
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.evaluation.case_facts import CaseFacts, feature_names
from nnunetv2_textguided.evaluation.case_likelihood import FILE as LIKELIHOOD
from nnunetv2_textguided.evaluation.case_likelihood import LikelihoodModel, write_likelihood
from nnunetv2_textguided.inference.options import ModelOptions, WorkOptions
from nnunetv2_textguided.inference.record import fitted_with
from nnunetv2_textguided.inference.run import Summary
from nnunetv2_textguided.inference.sentence_prior import (
    FILE,
    Regions,
    SentencePrior,
    fit_prior,
    read_prior,
    regions_of,
    said_of,
)
from nnunetv2_textguided.text.embeddings import write_embeddings
from nnunetv2_textguided.text.encode import embed, encode
from nnunetv2_textguided.text.encoders import load_encoder
from nnunetv2_textguided.text.resolve import FILE_NAME
from tests.inference.conftest import read
from tests.inference.models import PATCH, make_model, scene
from tests.inference.test_thresholds import trained_on
from tests.text.tiny_open_clip import build

HIGH, LOW, PLAIN = "PI-RADS 5 lesion of the zone", "PI-RADS 3 lesion of the zone", "lesion of the zone"
PRIOR = SentencePrior("csPCa", (4.0, 1.0, -3.0, 0.5), 0.5, -1.0, 40, 20, 0.9, 0.6)


def image_and_maps() -> tuple[np.ndarray, list[np.ndarray]]:
    """Two regions, and two maps: one over all of the first, one over half of the second."""
    probability = np.zeros((1, 4, 8), np.float32)
    probability[0, :2, :2], probability[0, 2:, 4:] = 0.3, 0.6
    maps = [np.zeros_like(probability) for _ in range(2)]
    maps[0][0, :2, :2], maps[1][0, 2:, 4:6] = 1, 1
    return probability, maps


def test_a_region_is_shifted_as_a_whole_by_what_is_said_where_it_lies() -> None:
    probability, maps = image_and_maps()
    shift = PRIOR.shift(probability, maps, [HIGH, LOW])
    assert set(np.unique(shift[0, :2, :2])) == {4.0}
    assert set(np.unique(shift[0, 2:, 4:])) == {-1.5}, "half of the region lies there"
    assert not shift[probability == 0].any()
    np.testing.assert_array_equal(shift, PRIOR.shift(probability, maps[::-1], [LOW, HIGH]))
    twice = PRIOR.shift(probability, [maps[0], maps[0] / 2], [HIGH, HIGH])
    assert twice[0, 0, 0] == 4.0, "said twice is not said more"
    assert PRIOR.shift(probability, [maps[0]], [PLAIN])[0, 0, 0] == 0.5


def test_where_nothing_is_said_or_shown_nothing_changes() -> None:
    probability, maps = image_and_maps()
    assert not PRIOR.shift(probability, [], []).any()
    assert not PRIOR.shift(probability, [np.zeros_like(probability)], [HIGH]).any()
    assert not PRIOR.shift(np.zeros_like(probability), maps, [HIGH, LOW]).any()
    empty = regions_of(np.zeros((1, 2, 2)), [np.ones((1, 2, 2))], [HIGH], np.zeros((1, 2, 2), bool))
    assert empty.logit.shape == (0,)
    assert empty.said.shape == (0, 4)
    assert empty.lesion.shape == (0,)


def test_regions_of_a_case() -> None:
    probability, maps = image_and_maps()
    lesion = np.zeros(probability.shape, bool)
    lesion[0, 2, 4] = True  # one of eight voxels: enough
    found = regions_of(probability, maps, [HIGH, "a finding, Likert unknown"], lesion)
    np.testing.assert_allclose(found.logit, np.log([0.3 / 0.7, 0.6 / 0.4]), rtol=1e-5)
    np.testing.assert_allclose(found.said, [[1, 0, 0, 0], [0, 0, 0, 0.5]])
    assert found.lesion.tolist() == [False, True]
    grades = said_of(np.ones((1, 1, 1), int), 1, [np.ones((1, 1, 1))] * 2, ["PI-RADS 4", "PIRADS: 2"])
    assert grades.tolist() == [[0, 1, 1, 0]]


def told_regions(rng: np.random.Generator, cases: int) -> list[Regions]:
    """Regions that the image hardly tells apart, and the grade well; what carries no grade says nothing."""
    found = []
    for _ in range(cases):
        lesion = rng.random(2) < 0.5
        column = np.where(rng.random(2) < 0.8, np.where(lesion, 0, 2), np.where(lesion, 2, 0))
        said = np.zeros((2, 4))
        said[np.arange(2), np.where(rng.random(2) < 0.3, 3, column)] = 1
        found.append(Regions(lesion + rng.normal(size=2), said, lesion))
    return found


def test_a_fit_finds_what_grades_are_worth_and_places_without_grade_are_not() -> None:
    regions = told_regions(np.random.default_rng(0), 3000)
    prior = fit_prior(regions, [number % 4 for number in range(3000)], "csPCa")
    high, middle, low, none = prior.shifts
    assert high - low == pytest.approx(2 * np.log(0.8 / 0.2), abs=0.4), "the logarithm of the ratio of odds"
    assert middle == 0, "no such sentence was seen"
    assert high > none > low
    assert prior.with_sentences > prior.without_sentences + 0.05
    assert (prior.regions, prior.lesions) == (6000, sum(int(one.lesion.sum()) for one in regions))


def test_sentences_that_say_nothing_are_not_shown_to_pay() -> None:
    rng = np.random.default_rng(1)
    regions = [replace(one, said=rng.permuted(one.said, axis=1)) for one in told_regions(rng, 300)]
    prior = fit_prior(regions, [number % 5 for number in range(300)], "csPCa")
    assert prior.with_sentences < prior.without_sentences + 0.02
    assert max(map(abs, prior.shifts)) < 1


@pytest.mark.parametrize(
    ("cases", "folds", "turned", "match"),
    [(100, 1, 1, "too few"), (8, 2, 1, "too few"), (100, 2, -1, "has learned nothing")],
    ids=["one fold", "few cases", "an image that says the opposite"],
)
def test_what_cannot_be_fitted(cases: int, folds: int, turned: int, match: str) -> None:
    regions = [replace(one, logit=turned * one.logit) for one in told_regions(np.random.default_rng(2), cases)]
    with pytest.raises(DataError, match=match):
        fit_prior(regions, [number % folds for number in range(cases)], "csPCa")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that finds every sentence everywhere, and preprocessed data: PI-RADS tells which balls are lesions."""
    pytest.importorskip("transformers", reason="needs the text extra")
    root = tmp_path_factory.mktemp("study")
    loaded = load_encoder(f"local:{build(root / 'tiny')}")
    folder = root / "preprocessed" / "Dataset902_Tiny"
    (folder / "tiny").mkdir(parents=True)
    tables = {role: embed(loaded, (HIGH, LOW), tokens=True) for role in ("phrase", "sentence")}
    write_embeddings(folder / FILE_NAME, encode(loaded, None, ["csPCa"], tables=tables))
    make_model(root / "model", steps=50, fixed={"grounding": {"enabled": True}}, dataset_folder=folder, folds=2)
    for path in (root / "model").glob("fold_*/checkpoint_final.pth"):
        content = torch.load(path, weights_only=False)
        content["network_weights"]["grounding.text.3.bias"] += 10
        content["network_weights"]["grounding.image.2.bias"][0] -= 10
        torch.save(content, path)
    rng, texts = np.random.default_rng(3), {}
    splits = [{"train": ["x"], "val": [f"{fold}_{number}" for number in range(20)]} for fold in (0, 1)]
    for number, case in enumerate(case for fold in splits for case in fold["val"]):
        image, ball = scene(rng, PATCH)
        sick = number % 2 == 0
        image += 0.5 * rng.random() * ball * sick  # a hint, which not every case has
        nnUNetDatasetNumpy.save_case(image, (ball & sick)[None].astype(np.int8), {}, str(folder / "tiny" / case))
        texts[case] = {"findings": [HIGH if sick else LOW]}
    (folder / "splits_final.json").write_text(json.dumps(splits))
    (root / "case_text.json").write_text(json.dumps(texts))
    return root


def fit(folder: Path, text: Path) -> int:
    """The command's status."""
    command = ("sentence-prior", "-m", folder, "--case-text", text, "-device", "cpu")
    return main([str(word) for word in command])


@pytest.fixture(scope="module")
def fitted(study: Path) -> Path:
    """The model with its prior, fitted by the command."""
    folder = Path(shutil.copytree(study / "model", study / "fitted"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("nnUNet_preprocessed", str(study / "preprocessed"))
        assert fit(folder, study / "case_text.json") == 0
    return folder


@pytest.fixture
def copy(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The model without a prior."""
    monkeypatch.setenv("nnUNet_preprocessed", str(study / "preprocessed"))
    return Path(shutil.copytree(study / "model", tmp_path / "model"))


def test_grades_decide_where_the_image_does_not(fitted: Path) -> None:
    prior = read_prior(ModelOptions(fitted, (0, 1)))
    assert prior is not None
    assert prior.with_sentences > 0.95 > 0.75 > prior.without_sentences
    assert prior.shifts[0] > 0 > prior.shifts[2]
    assert (prior.regions, prior.lesions) == (40, 20)


def test_from_a_models_validation_to_a_new_patient(
    fitted: Path, predict: Callable[..., Summary], tmp_path: Path
) -> None:
    prior = read_prior(ModelOptions(fitted, (0,)))
    assert prior is not None
    text, more = tmp_path / "text.json", {"trained": fitted, "candidates": "dynamic"}
    predict(folder=tmp_path / "plain", **more)
    changes = []
    for sentence in (HIGH, LOW):
        text.write_text(json.dumps({"ball_0": {"findings": [sentence]}}))
        predict(folder=tmp_path / sentence, model_options={"case_text": text}, **more)
        record = json.loads((tmp_path / sentence / "cases" / "ball_0.json").read_text())
        for plain, same in (("ball_0", "without_text/ball_0"), ("none_1", "none_1")):
            np.testing.assert_array_equal(
                read(tmp_path / "plain" / f"{plain}.nii.gz"), read(tmp_path / sentence / f"{same}.nii.gz")
            )
        assert record["sentence_prior"] == prior.described()
        changes.append(record["case_likelihood"] - record["text"]["without"]["case_likelihood"])
        assert record["text"]["sentences"][0]["likelihood_change"] == pytest.approx(changes[-1], abs=1e-6)
    assert changes[0] > 0 > changes[1]
    assert "sentence_prior" not in json.loads((tmp_path / "plain" / "cases" / "ball_0.json").read_text())


def test_the_combined_likelihood_is_of_what_the_image_shows(
    fitted: Path, predict: Callable[..., Summary], tmp_path: Path
) -> None:
    """Its regression knows scores without text, and the grade by itself: a sentence must not count twice."""
    folder = Path(shutil.copytree(fitted, tmp_path / "model"))
    image = LikelihoodModel(("image",), feature_names(("image",)), (0.0,), (1.0,), (2.0,), -1.0, 20, 10)
    write_likelihood(folder / LIKELIHOOD, [image], fitted_with(ModelOptions(folder, (0,))))
    text = tmp_path / "text.json"
    text.write_text(json.dumps({"ball_0": {"findings": [LOW]}}))
    predict(trained=folder, model_options={"case_text": text}, candidates="dynamic")
    record = json.loads((tmp_path / "out" / "cases" / "ball_0.json").read_text())
    without = record["text"]["without"]["case_likelihood"]
    assert without > record["case_likelihood"] + 0.01
    assert record["combined_likelihood"] == pytest.approx(image.likelihood(CaseFacts(without)))


def test_what_another_prior_predicted_is_predicted_again(
    fitted: Path, study: Path, predict: Callable[..., Summary], tmp_path: Path
) -> None:
    text = tmp_path / "text.json"
    text.write_text(json.dumps({"ball_0": {"findings": [HIGH]}}))
    predict(trained=fitted, model_options={"case_text": text})
    work = WorkOptions(preprocessing=0, export=0, continued=True)
    again = partial(predict, model_options={"case_text": text}, work=work)
    assert again(trained=fitted).predicted == []
    assert again(trained=study / "model").predicted == ["ball_0"]
    assert again(trained=study / "model").predicted == []


def test_a_prior_of_other_networks_is_left_out_with_a_warning(
    fitted: Path, predict: Callable[..., Summary], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(fitted, tmp_path / "model"))
    checkpoint = folder / "fold_0" / "checkpoint_final.pth"
    trained_on(checkpoint, checkpoint)
    with pytest.raises(DataError, match="`sentence-prior` fitted belongs to other checkpoints"):
        read_prior(ModelOptions(folder, (0,)))
    capsys.readouterr()
    predict(trained=folder)
    assert "WARNING: no prior of sentences." in capsys.readouterr().out
    content = json.loads((folder / FILE).read_text())
    (folder / FILE).write_text(json.dumps({**content, "shifts": [1, 2]}))
    with pytest.raises(DataError, match="the shifts are"):
        read_prior(ModelOptions(folder, (1,)))


def test_what_is_missing_is_said_and_nothing_is_written(
    study: Path, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    silent = tmp_path / "silent.json"
    silent.write_text("{}")
    assert fit(copy, silent) == 1
    assert "No sentence reaches the network" in capsys.readouterr().err
    other = tmp_path / "Dataset902_Tiny"
    (other / "tiny").mkdir(parents=True)
    shutil.copy(study / "preprocessed" / "Dataset902_Tiny" / "splits_final.json", other)
    (other / "tiny" / "other.npz").touch()
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path))
    assert fit(copy, study / "case_text.json") == 1
    assert "is not preprocessed" in capsys.readouterr().err
    assert not (copy / FILE).exists()


def test_sentences_that_do_not_pay_leave_no_prior(
    study: Path, copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = "nnunetv2_textguided.inference.sentence_prior_fit.fit_for_model"
    monkeypatch.setattr(module, lambda *_: replace(PRIOR, with_sentences=PRIOR.without_sentences))
    assert fit(copy, study / "case_text.json") == 0
    assert "Nothing is written: sentences tell no more than the image does." in capsys.readouterr().out
    assert not (copy / FILE).exists()
