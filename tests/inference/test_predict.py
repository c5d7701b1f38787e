"""Masks are nnU-Net's bit by bit; heatmaps are averaged like logits; runs resume; failures are one case's."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nnunetv2_textguided.cli import main
from nnunetv2_textguided.demo.phantom import write_dataset
from nnunetv2_textguided.demo.shapes import Grid
from nnunetv2_textguided.errors import DataError, TextGuidedError
from nnunetv2_textguided.inference.explaining import HEATMAP_SCALE, ExplainingNetwork
from nnunetv2_textguided.inference.loading import load_predictor
from nnunetv2_textguided.inference.options import ModelOptions, WorkOptions
from nnunetv2_textguided.inference.run import Summary
from tests.inference.conftest import read, stock_predict
from tests.inference.models import Model, make_model, write_case
from tests.networks import network

Predict = Callable[..., Summary]


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Path]:
    """Two cases of the demo's phantom, and a model that resamples them; untrained, so that its masks are rugged."""
    root = tmp_path_factory.mktemp("phantom")
    write_dataset(root / "data", training=5, testing=2, grid=Grid((12, 56, 56), (3.0, 1.3, 1.3)))
    trained = make_model(root / "model", spacing=(3.6, 2.0, 2.0), normalisation="ZScoreNormalization")
    return trained, root / "data" / "imagesTs"


@pytest.mark.parametrize(("folds", "mirroring"), [((0,), False), ((0, 1), True)])
def test_masks_are_those_of_stock_prediction(
    predict: Predict, model: Model, images: Path, tmp_path: Path, folds: tuple[int, ...], mirroring: bool
) -> None:
    stock_predict(model.folder, images, tmp_path / "stock", folds, mirroring)
    predict(folds=folds, mirroring=mirroring, heatmaps=True)
    masks = sorted(path.name for path in (tmp_path / "stock").glob("*.nii.gz"))
    assert masks == ["ball_0.nii.gz", "none_1.nii.gz"]
    for name in masks:
        stock = read(tmp_path / "stock" / name)
        assert np.array_equal(read(tmp_path / "out" / name), stock)
    assert read(tmp_path / "stock" / "ball_0.nii.gz").any()


def test_without_its_refiner_a_model_predicts_as_the_network_before_it(model: Model) -> None:
    x = torch.randn(3, 8, 32, 32)
    predictor = load_predictor(ModelOptions(model.folder, (0, 1)))
    with_refiner = predictor.predict_logits_from_preprocessed_data(x)
    predictor.switch_off_refiner()
    without = predictor.predict_logits_from_preprocessed_data(x)
    alphas = [fold["refiner.alpha"] for fold in predictor.list_of_parameters]
    assert [float(alpha) for alpha in alphas] == [0, 0]
    assert not torch.equal(with_refiner, without)
    for fold in predictor.list_of_parameters:
        fold.update({n: torch.randn_like(v) for n, v in fold.items() if n.startswith("refiner.") and n[8:] != "alpha"})
    assert torch.equal(predictor.predict_logits_from_preprocessed_data(x), without)


def test_a_model_without_refiner_has_none_to_switch_off(
    tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_model(tmp_path / "plain", fixed={"components": ["alignment", "heatmap"]}).folder
    options = ["-i", str(images), "-o", str(tmp_path / "out"), "-m", str(folder), "-f", "0", "-device", "cpu"]
    assert main(["predict", *options, "--without-refiner"]) == 1
    assert "no refiner to switch off" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("heads", [2, 1])
def test_the_wrapper_adds_channels_and_leaves_logits_alone(heads: int) -> None:
    net = network({"refiner": {"band": 1e9, "max_fraction": 0.5, "prediction_fraction": 0.5}}, heads=heads).eval()
    torch.nn.init.normal_(net.refiner.head.weight)
    net.refiner.alpha.fill_(1)
    x = torch.randn(1, 3, 8, 16, 16)
    with torch.no_grad():
        found, plain = ExplainingNetwork(net)(x), net(x)
        net.refiner.alpha.zero_()
        before = net(x)
    assert found.shape[1] == heads + 2
    assert torch.equal(found[:, :heads], plain)
    assert found[:, heads].min() > 0
    assert found[:, heads].max() < HEATMAP_SCALE
    change = plain - before
    contrast = change[:, 0] if heads == 1 else change[:, 1] - change[:, 0]
    assert contrast.abs().max() > 1e-3
    torch.testing.assert_close(found[:, -1], contrast, atol=1e-5, rtol=0)


def test_heatmaps_are_averaged_over_folds_and_mirrorings(model: Model) -> None:
    x = torch.randn(3, 8, 32, 32)  # one window: the average over windows is the window
    maps = []
    for fold in (0, 1):
        predictor = load_predictor(ModelOptions(model.folder, (fold,)))
        net = predictor.network.eval()
        for axes in [(), (2,), (3,), (4,), (2, 3), (2, 4), (3, 4), (2, 3, 4)]:
            with torch.no_grad():
                maps.append(torch.flip(net.explain(torch.flip(x[None], axes)).heatmap, axes)[0, 0])
    predictor = load_predictor(ModelOptions(model.folder, (0, 1)))
    predictor.explain()
    predicted = predictor.predict_logits_from_preprocessed_data(x)[predictor.layout.heatmap][0]
    difference = (predicted.float() / HEATMAP_SCALE - torch.stack(maps).mean(0)).abs()
    assert difference[1:-1, 4:-4, 4:-4].max() < 1e-3
    assert difference.max() < 0.02  # in the window's corners, where weights are next to nothing
    assert torch.stack(maps).std(0).max() > 0.01


def test_what_nnunet_writes_beside_its_masks_is_there_and_probabilities_are_nnunets(
    predict: Predict, model: Model, images: Path, tmp_path: Path
) -> None:
    predict(heatmaps=True, probabilities=True)
    out = tmp_path / "out"
    assert json.loads((out / "plans.json").read_text()) == model.plans
    assert (out / "dataset.json").is_file()
    assert (out / "predict_from_raw_data_args.json").is_file()
    probabilities = np.load(out / "ball_0.npz")["probabilities"]
    assert probabilities.shape == (2, 9, 32, 36)
    assert np.array_equal(probabilities.argmax(0), read(out / "ball_0.nii.gz"))
    record = json.loads((out / "cases" / "ball_0.json").read_text())
    assert record["candidates"][0]["peak_probability"] == pytest.approx(probabilities[1].max(), abs=1e-6)


def test_tables_name_the_ball_and_nothing_in_the_empty_case(predict: Predict, tmp_path: Path) -> None:
    predict(heatmaps=True, overlays=True)
    out = tmp_path / "out"
    lesions = list(csv.DictReader((out / "lesions.csv").open()))
    cases = {row["case"]: row for row in csv.DictReader((out / "cases.csv").open())}
    assert {row["case"] for row in lesions} == {"ball_0"}
    assert float(cases["ball_0"]["case_likelihood"]) > 0.5
    assert float(cases["none_1"]["case_likelihood"]) == 0
    assert float(lesions[0]["mean_heatmap"]) > 0.5
    assert not read(out / "detection_maps" / "none_1_detection_map.nii.gz").any()
    for name in ("ball_0", "none_1"):
        assert (out / "overlays" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_candidates_are_placed_in_the_zones_of_the_cases_own_masks(
    predict: Predict, images: Path, tmp_path: Path
) -> None:
    zones = tmp_path / "zones"
    zones.mkdir()
    for name in ("ball_0", "none_1"):
        image = sitk.ReadImage(str(images / f"{name}_0000.nii.gz"))
        whole = sitk.Cast(image * 0 + 2, sitk.sitkUInt8)
        sitk.WriteImage(whole, str(zones / f"{name}.nii.gz"))
    predict(zones=zones, overlays=True)
    assert {row["zone"] for row in csv.DictReader((tmp_path / "out" / "lesions.csv").open())} == {"TZ"}


@pytest.mark.parametrize("mirroring", [False, True])
@pytest.mark.parametrize("folds", [(0,), (0, 1)])
def test_masks_of_the_phantom_are_those_of_stock_prediction(
    predict: Predict, phantom: tuple[Model, Path], tmp_path: Path, folds: tuple[int, ...], mirroring: bool
) -> None:
    trained, source = phantom
    stock_predict(trained.folder, source, tmp_path / "stock", folds, mirroring)
    predict(source, trained=trained.folder, folds=folds, mirroring=mirroring, heatmaps=True)
    masks = [(read(path), read(tmp_path / "out" / path.name)) for path in (tmp_path / "stock").glob("*.nii.gz")]
    assert len(masks) == 2
    assert all(np.array_equal(stock, ours) for stock, ours in masks)
    assert all(0 < stock.mean() < 1 for stock, _ in masks)


def test_an_interrupted_run_resumes_with_what_is_missing(predict: Predict, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict(heatmaps=True)
    mask = out / "none_1.nii.gz"
    before = mask.stat().st_mtime_ns
    for lost in (out / "ball_0.nii.gz", out / "heatmaps" / "csPCa" / "ball_0.nii.gz"):
        lost.unlink()
        resumed = predict(heatmaps=True, work=WorkOptions(0, 0, continued=True))
        assert resumed.predicted == ["ball_0"]
        assert resumed.skipped == 1
        assert lost.is_file()
    assert mask.stat().st_mtime_ns == before


def test_parts_together_are_the_whole_and_their_tables_merge(predict: Predict, tmp_path: Path) -> None:
    first, second = (predict(work=WorkOptions(0, 0, part=part, parts=2)) for part in (0, 1))
    assert (first.predicted, second.predicted) == (["ball_0"], ["none_1"])
    rows = list(csv.DictReader((tmp_path / "out" / "cases.csv").open()))
    assert [row["case"] for row in rows] == ["ball_0", "none_1"]


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "not an image":
        path.write_bytes(gzip.compress(b"hello"))
    else:
        sitk.WriteImage(sitk.Image((4, 4, 4), sitk.sitkFloat32), str(path))


@pytest.mark.parametrize("how", ["truncated", "not an image", "another size"])
def test_a_damaged_case_fails_by_name_and_the_others_are_predicted(
    predict: Predict, images: Path, tmp_path: Path, how: str
) -> None:
    source = shutil.copytree(images, tmp_path / "in")
    damage(source / "ball_0_0001.nii.gz", how)
    summary = predict(source, heatmaps=True)
    assert summary.predicted == ["none_1"]
    assert "ball_0_0001.nii.gz" in summary.failed["ball_0"]
    assert not list((tmp_path / "out").rglob("*ball_0*"))


def test_a_missing_channel_is_its_cases_failure_and_the_others_are_predicted(
    predict: Predict, images: Path, tmp_path: Path
) -> None:
    source = shutil.copytree(images, tmp_path / "in")
    (source / "none_1_0001.nii.gz").unlink()
    summary = predict(source)
    assert summary.predicted == ["ball_0"]
    assert "none_1_0001.nii.gz (ADC) missing" in summary.failed["none_1"]


def test_nothing_is_written_where_no_case_can_be_predicted(predict: Predict, images: Path, tmp_path: Path) -> None:
    source = shutil.copytree(images, tmp_path / "in")
    for name in ("none_1", "ball_0"):
        (source / f"{name}_0002.nii.gz").unlink()
    assert set(predict(source, viewer=True).failed) == {"none_1", "ball_0"}
    assert not (tmp_path / "out").exists()


def test_what_is_no_folder_of_images_is_told_with_what_is_there(predict: Predict, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for name in ("ball_0_0000.NII.GZ", "ball.nii.gz", "._ball_0_0000.nii.gz"):
        (source / name).write_bytes(b"")
    with pytest.raises(DataError, match=r"no image CASE_0000\.nii\.gz, but ball\.nii\.gz, ball_0_0000\.NII\.GZ\."):
        predict(source)
    with pytest.raises(DataError, match="is a file"):
        predict(source / "ball.nii.gz")
    with pytest.raises(DataError, match="does not exist"):
        predict(tmp_path / "nowhere")


def test_companions_of_macos_are_no_cases(predict: Predict, images: Path, tmp_path: Path) -> None:
    source = shutil.copytree(images, tmp_path / "in")
    for path in list(source.iterdir()):
        (source / f"._{path.name}").write_bytes(b"\x00\x05\x16\x07companion")
    summary = predict(source)
    assert (summary.predicted, summary.failed) == (["ball_0", "none_1"], {})


def test_a_case_without_zone_mask_fails_alone(predict: Predict, images: Path, tmp_path: Path) -> None:
    zones = tmp_path / "zones"
    zones.mkdir()
    image = sitk.ReadImage(str(images / "ball_0_0000.nii.gz"))
    sitk.WriteImage(sitk.Cast(image * 0 + 1, sitk.sitkUInt8), str(zones / "ball_0.nii.gz"))
    summary = predict(zones=zones)
    assert summary.predicted == ["ball_0"]
    assert "no zone mask" in summary.failed["none_1"]


def test_a_failing_export_leaves_no_trace_of_the_case(predict: Predict, tmp_path: Path) -> None:
    zones = tmp_path / "zones"
    zones.mkdir()
    for name in ("ball_0", "none_1"):
        (zones / f"{name}.nii.gz").write_bytes(b"no image")
    summary = predict(zones=zones)
    assert set(summary.failed) == {"ball_0", "none_1"}
    left = {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert left == {"plans.json", "dataset.json", "predict_from_raw_data_args.json", "predict.log"}


def test_a_model_without_text_predicts_but_explains_nothing(predict: Predict, tmp_path: Path) -> None:
    plain = make_model(tmp_path / "plain", folds=1, trainer="nnUNetTrainerAlignRefine_NoText", fixed={"components": []})
    summary = predict(trained=plain.folder)
    assert not summary.failed
    with pytest.raises(DataError, match="without text"):
        predict(trained=plain.folder, heatmaps=True)


@pytest.mark.slow
def test_background_processes_give_the_same_files(predict: Predict, tmp_path: Path) -> None:
    predict(heatmaps=True)
    predict(heatmaps=True, folder=tmp_path / "background", work=WorkOptions(preprocessing=1, export=1))
    for path in (tmp_path / "out").rglob("*.nii.gz"):
        assert np.array_equal(read(path), read(tmp_path / "background" / path.relative_to(tmp_path / "out")))


def test_the_command_reports_failures_by_its_exit_status(
    model: Model, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["predict", "-i", str(images), "-o", str(tmp_path / "out"), "-m", str(model.folder), "--device", "cpu"]
    words += ["--candidates", "mask", "-npp", "0", "-nps", "0", "--disable_tta"]
    assert main([*words, "-f", "0"]) == 0
    assert main([*words, "-f", "3"]) == 1
    assert "Folds with checkpoint_final.pth there: 0 1" in capsys.readouterr().err
    assert main([*words, "-f", "0", "--candidates", "none", "--overlays"]) == 1


def test_several_labels_have_a_heatmap_each(predict: Predict, tmp_path: Path) -> None:
    several = make_model(tmp_path / "several", folds=1, labels={"PZ": 1, "TZ": 2, "csPCa": 3})
    source = tmp_path / "in"
    write_case(source, "a", np.random.default_rng(0).normal(size=(3, 8, 32, 32)))
    predict(source, trained=several.folder, heatmaps=True)
    assert {path.name for path in (tmp_path / "out" / "heatmaps").iterdir()} == {"PZ", "TZ", "csPCa"}
    assert json.loads((tmp_path / "out" / "cases" / "a.json").read_text())["label"] == "csPCa"


def test_regions_are_explained_by_their_own_logits(predict: Predict, tmp_path: Path) -> None:
    regions = {"gland": [1, 2], "csPCa": [2]}
    trained = make_model(tmp_path / "regions", folds=1, labels=regions, region_order=(1, 2))
    source = tmp_path / "in"
    write_case(source, "a", np.random.default_rng(0).normal(size=(3, 8, 32, 32)))
    assert not predict(source, trained=trained.folder, heatmaps=True).failed
    assert read(tmp_path / "out" / "changes" / "csPCa" / "a.nii.gz").any()


def test_unknown_ways_to_find_candidates_are_refused(predict: Predict) -> None:
    with pytest.raises(TextGuidedError, match="no way to find candidates"):
        predict(candidates="everything")
