"""Patients who lack a channel: refused, or predicted without it by a model that was trained for it, and only so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

import nnunetv2_textguided
from nnunetv2_textguided.cli import main
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.inference.channels import from_study
from nnunetv2_textguided.inference.missing import missing_rule
from nnunetv2_textguided.inference.patient import LoadedModel, Result
from nnunetv2_textguided.settings import Settings
from tests.inference.models import PATCH, SPACING, Model, make_model, scene


@pytest.fixture(scope="module")
def robust(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A tiny model that saw bright balls with channels left out at random. Its ADC has no unit that could be told."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("robust") / "model"
    made = make_model(folder, folds=1, steps=80, fixed={"training": {"channel_dropout": 0.3}})
    _without_units(folder)
    return made


def _without_units(folder: Path) -> None:
    path = folder / "dataset.json"
    content = json.loads(path.read_text())
    content["channel_names"] = {"0": "T2W", "1": "Flair", "2": "HBV"}
    path.write_text(json.dumps(content))


@pytest.fixture(scope="module")
def loaded(robust: Model) -> LoadedModel:
    return nnunetv2_textguided.load(robust.folder, candidates="mask", mirroring=False)


@pytest.fixture(scope="module")
def complete_only(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was trained with every channel."""
    import shutil

    folder = tmp_path_factory.mktemp("complete") / "model"
    shutil.copytree(model.folder, folder)
    _without_units(folder)
    return folder


def patient(seed: int = 3) -> tuple[dict[str, sitk.Image], np.ndarray]:
    values, mask = scene(np.random.default_rng(seed), PATCH, 1)
    images = {}
    for name, one in zip(("t2w", "flair", "hbv"), values, strict=True):
        images[name] = sitk.GetImageFromArray(one.astype(np.float32))
        images[name].SetSpacing(SPACING[::-1])
    return images, mask


def dice(result: Result, mask: np.ndarray) -> float:
    found = sitk.GetArrayFromImage(result.mask) > 0
    return float(2 * (found & mask).sum() / (found.sum() + mask.sum()))


@pytest.mark.parametrize("channel", ["t2w", "flair", "hbv"])
def test_a_model_that_was_trained_for_it_predicts_without_any_one_channel(loaded: LoadedModel, channel: str) -> None:
    images, mask = patient()
    without = {name: one for name, one in images.items() if name != channel}
    result = loaded.predict(**without, missing="allow")
    assert dice(result, mask) > 0.5
    assert result.mask.GetSpacing() == images["hbv"].GetSpacing()
    name = {"t2w": "T2W", "flair": "Flair", "hbv": "HBV"}[channel]
    assert f"{name} is missing: predicted without it" in result.decisions
    assert f"{name} is missing: predicted without it" in result.remarks
    # A constant channel is a missing one, whatever its value.
    constant = loaded.predict(**without, **{channel: images[channel] * 0 + 5}, missing="allow")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(constant.mask), sitk.GetArrayFromImage(result.mask))
    assert f"All voxels of {name} have the same value (5): predicted without it" in constant.decisions


def test_a_complete_patient_after_an_incomplete_one_is_predicted_with_all_channels(loaded: LoadedModel) -> None:
    images, _ = patient()
    before = loaded.predict(**images)
    loaded.predict(t2w=images["t2w"], missing="allow")
    after = loaded.predict(**images, missing="allow")
    assert before.probability is not None
    assert after.probability is not None
    np.testing.assert_array_equal(sitk.GetArrayFromImage(before.probability), sitk.GetArrayFromImage(after.probability))
    assert before.remarks == after.remarks


def test_without_being_asked_the_missing_channel_is_an_error_that_names_it(loaded: LoadedModel) -> None:
    images, _ = patient()
    with pytest.raises(DataError, match=r"needs the channels T2W, Flair, HBV: Flair missing(.|\n)*--missing allow"):
        loaded.predict(t2w=images["t2w"], hbv=images["hbv"])
    with pytest.raises(DataError, match=r"All voxels of Flair have the same value(.|\n)*--missing allow"):
        loaded.predict(**{**images, "flair": images["flair"] * 0})


def test_a_model_that_was_trained_with_every_channel_refuses(complete_only: Path) -> None:
    images, _ = patient()
    loaded = nnunetv2_textguided.load(complete_only, candidates="mask", folds=(0,), mirroring=False)
    with pytest.raises(DataError, match=r"T2W, Flair, HBV: HBV missing(.|\n)*channel_dropout 0"):
        loaded.predict(t2w=images["t2w"], flair=images["flair"], missing="allow")
    with pytest.raises(DataError, match=r"All voxels of HBV(.|\n)*channel_dropout 0"):
        loaded.predict(**{**images, "hbv": images["hbv"] * 0}, missing="allow")
    with pytest.raises(DataError, match=r"1 channels are missing(.|\n)*channel_dropout 0"):
        loaded.session.predictor.predict_case("case", torch.zeros(3, *PATCH), missing=(1,))
    assert not missing_rule("allow", None).allowed


def test_not_all_channels_can_be_missing(loaded: LoadedModel) -> None:
    images, _ = patient()
    with pytest.raises(DataError, match="Every channel is missing"):
        loaded.predict(**{name: one * 0 for name, one in images.items()}, missing="allow")
    with pytest.raises(DataError, match="T2W, Flair, HBV missing"):
        loaded.predict(missing="allow")


def test_a_cohort_whose_patients_lack_channels(
    robust: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, _ = patient()
    for name, channels in (("anna", ("t2w", "flair", "hbv")), ("bert", ("flair", "hbv"))):
        (tmp_path / "in" / name).mkdir(parents=True)
        for channel in channels:
            sitk.WriteImage(images[channel], str(tmp_path / "in" / name / f"{channel}.mha"))
    command = ["predict", "-i", tmp_path / "in", "-m", robust.folder, "-f", "0", "--device", "cpu", "--candidates"]
    command += ["mask", "-npp", "0", "-nps", "0", "--disable_tta", "--overlays", "--viewer", "--missing", "allow"]
    assert main([str(word) for word in [*command, "-o", tmp_path / "no"]]) == 1
    assert "Use --layout studies" in capsys.readouterr().err
    assert main([str(word) for word in [*command, "-o", tmp_path / "out", "--layout", "studies"]]) == 0
    printed = capsys.readouterr().out
    assert "bert: T2W is missing: predicted without it" in printed
    assert "note bert: T2W is missing: predicted without it" in printed
    records = {name: json.loads((tmp_path / "out" / "cases" / f"{name}.json").read_text()) for name in ("anna", "bert")}
    assert [records[name]["missing_channels"] for name in ("anna", "bert")] == [[], ["T2W"]]
    assert "T2W is missing" in (tmp_path / "out" / "cases.csv").read_text()
    script = (tmp_path / "out" / "viewer" / "bert.js").read_text()
    assert '"name": "Flair"' in script
    assert '"name": "T2W"' not in script


def test_a_series_that_a_study_lacks(tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    from tests.inference.dicom_writer import Study

    images, _ = patient()
    made = Study(tmp_path / "study")
    made.series(images["t2w"] * 100 + 200, 3, "t2_tse_tra")
    made.series(images["hbv"] * 100 + 200, 5, "ep2d_diff", b_values=(1400,))
    channels = ("T2W", "ADC", "HBV")
    with pytest.raises(DataError, match=r"ADC: no series fits(.|\n)*every channel that it was trained with"):
        from_study(made.folder, channels)
    allowed = missing_rule("allow", _settings())
    found = from_study(made.folder, channels, rule=allowed)
    assert found.missing == (1,)
    assert len(found.datasets) == PATCH[0]
    made.series(images["t2w"] * 100 + 200, 4, "t2_tse_tra_again")
    with pytest.raises(DataError, match="T2W: 2 series fit"):
        from_study(made.folder, channels, rule=allowed)


def _settings() -> Settings:
    from nnunetv2_textguided.settings.presets import resolve

    return resolve({"training": {"channel_dropout": 0.1}})
