"""What is checked of a case before it is predicted, and what a reader of its results is told."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from nnunetv2.model_sharing import model_export, model_import
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.utilities import file_path_utilities

from nnunetv2_textguided.cli import main
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.imaging.images import read_header, read_image
from nnunetv2_textguided.imaging.intensities import LOGGED
from nnunetv2_textguided.inference.cases import Case
from nnunetv2_textguided.inference.cohort import Cohort
from nnunetv2_textguided.inference.export import Exporter
from nnunetv2_textguided.inference.loading import open_session
from nnunetv2_textguided.inference.options import ModelOptions, OutputOptions, WorkOptions
from nnunetv2_textguided.inference.predictor import TextGuidedPredictor
from nnunetv2_textguided.inference.run import Summary, predict_cases
from tests.inference.conftest import HERE, read
from tests.inference.models import Model

Predict = Callable[..., Summary]


@pytest.fixture
def source(images: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(images, tmp_path / "in"))


def move(path: Path, *, origin: tuple[float, ...] | None = None, direction: tuple[float, ...] | None = None) -> None:
    image = sitk.ReadImage(str(path))
    if origin is not None:
        image.SetOrigin(origin)
    if direction is not None:
        image.SetDirection(direction)
    sitk.WriteImage(image, str(path))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"origin": (30.0, 0.0, 0.0)}, "centres 30.0 mm apart"),
        ({"origin": (0.0, 0.0, 9.0)}, "centres 9.0 mm apart"),
        ({"direction": (-1, 0, 0, 0, -1, 0, 0, 0, 1)}, "axes turned by 180 degrees"),
        ({"direction": (1, 0, 0, 0, 0.9848, -0.1736, 0, 0.1736, 0.9848)}, "axes turned by 10 degrees"),
    ],
)
def test_a_channel_that_lies_elsewhere_fails_its_case(
    predict: Predict, source: Path, header: dict, message: str
) -> None:
    move(source / "ball_0_0001.nii.gz", **header)
    summary = predict(source)
    assert summary.predicted == ["none_1"]
    assert "ADC is not on the grid of T2W" in summary.failed["ball_0"]
    assert message in summary.failed["ball_0"]
    assert "ball_0_0001.nii.gz" in summary.failed["ball_0"]


def test_a_small_difference_is_a_remark_in_summary_table_json_and_viewer(
    predict: Predict, source: Path, tmp_path: Path
) -> None:
    move(source / "ball_0_0002.nii.gz", origin=(0.2, 0.0, 0.0))
    summary = predict(source, viewer=True)
    (remark,) = summary.remarks["ball_0"]
    assert remark.startswith("HBV is not on the grid of T2W exactly: corners 0.200 voxels")
    assert "none_1" not in summary.remarks
    out = tmp_path / "out"
    rows = {row["case"]: row for row in csv.DictReader((out / "cases.csv").open())}
    assert (rows["ball_0"]["remarks"], rows["none_1"]["remarks"]) == (remark, "")
    assert json.loads((out / "cases" / "ball_0.json").read_text())["remarks"] == [remark]
    assert remark in (out / "viewer" / "ball_0.js").read_text()


def test_rounding_of_a_header_is_no_remark(predict: Predict, source: Path) -> None:
    move(source / "ball_0_0002.nii.gz", origin=(0.001, 0.0, 0.0))
    assert predict(source).remarks == {}


def test_a_sheared_affine_is_an_error_with_a_remedy(predict: Predict, source: Path) -> None:
    path = source / "ball_0_0001.nii.gz"
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    affine[0, 1] = 0.3
    nibabel.save(nibabel.Nifti1Image(np.random.default_rng(0).random((36, 32, 9), np.float32), affine), path)
    error = predict(source).failed["ball_0"]
    assert "sheared" in error
    assert "resample_to_output" in error


def test_an_empty_channel_fails_its_case_by_name(predict: Predict, source: Path) -> None:
    path = source / "ball_0_0001.nii.gz"
    sitk.WriteImage(sitk.ReadImage(str(path)) * 0 + 4, str(path))
    assert "All voxels of ADC have the same value (4)" in predict(source).failed["ball_0"]


def test_images_in_memory_are_predicted_as_files_are(
    predict: Predict, model: Model, images: Path, tmp_path: Path
) -> None:
    predict(heatmaps=True)
    paths = [images / f"ball_0_{number:04d}.nii.gz" for number in range(3)]
    scans = [sitk.ReadImage(str(path)) for path in paths]
    output = OutputOptions(tmp_path / "memory", heatmaps=True, candidates="mask")
    session = open_session(ModelOptions(model.folder, (0,), mirroring=False), output)
    cases = [Case("scans", tuple(scans)), Case("mixed", (scans[0], *paths[1:]))]
    assert predict_cases(session, Cohort(cases, {}), "memory", HERE).predicted == ["scans", "mixed"]
    for name in ("scans", "mixed"):
        for folder in (".", "heatmaps/csPCa"):
            found, expected = (
                tmp_path / "memory" / folder / f"{name}.nii.gz",
                tmp_path / "out" / folder / "ball_0.nii.gz",
            )
            assert np.array_equal(read(found), read(expected))
    scans[1].SetOrigin((30.0, 0.0, 0.0))
    moved = predict_cases(session, Cohort([Case("moved", tuple(scans))], {}), "memory", HERE)
    assert "ADC is not on the grid" in moved.failed["moved"]


def test_a_folder_takes_the_results_of_one_model(predict: Predict, model: Model, images: Path, tmp_path: Path) -> None:
    other, again = tmp_path / "other", WorkOptions(0, 0, continued=True)
    shutil.copytree(model.folder, other)
    predict()
    mask, record = (tmp_path / "out" / name for name in ("ball_0.nii.gz", "predict_from_raw_data_args.json"))
    before = (mask.read_bytes(), record.read_bytes())
    assert predict(trained=other, work=again).skipped == 2, "a model that was moved is the same model"
    record.write_bytes(before[1])
    shutil.copyfile(other / "fold_1" / "checkpoint_final.pth", other / "fold_0" / "checkpoint_final.pth")
    with pytest.raises(DataError) as error:
        predict(trained=other, work=again)
    assert str(model.folder) in str(error.value)
    assert str(other) in str(error.value)
    for changed in (
        {"folds": (1,)},
        {"mirroring": True},
        {"model_options": {"step_size": 0.3}},
        {"candidates": "0.3"},
    ):
        with pytest.raises(DataError, match=r" was .*, is "):
            predict(work=again, **changed)
    assert (mask.read_bytes(), record.read_bytes()) == before


def test_without_continuing_only_other_cases_are_in_the_way(predict: Predict, source: Path, tmp_path: Path) -> None:
    predict(source)
    assert not predict(source, folds=(1,)).failed, "all are predicted anew"
    for path in source.glob("ball_0*"):
        path.rename(path.with_name(path.name.replace("ball_0", "new_2")))
    with pytest.raises(DataError, match="1 cases of another model or other settings, such as ball_0"):
        predict(source)
    assert predict(source, folds=(1,)).predicted == ["new_2", "none_1"]


@pytest.mark.parametrize(
    ("owner", "method", "step"),
    [
        (DefaultPreprocessor, "run_case_npy", "read and preprocessed"),
        (TextGuidedPredictor, "predict_logits_from_preprocessed_data", "predicted"),
        (Exporter, "_write", "exported"),
    ],
)
@pytest.mark.parametrize("error", [AssertionError(), RuntimeError("CUDA out of memory\nmore"), OSError(28, "full")])
def test_whatever_ends_one_case_is_that_case_s_failure(
    predict: Predict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: type, method: str, step: str, error: Any
) -> None:
    """Errors of nnU-Net's own code, of torch and of the disk, in the first of two cases."""
    own, calls = getattr(owner, method), []

    def fail_once(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise error
        return own(*args, **kwargs)

    monkeypatch.setattr(owner, method, fail_once)
    summary = predict()
    assert summary.predicted == ["none_1"]
    reason = summary.failed["ball_0"].splitlines()[0]
    assert reason.startswith(f"The case could not be {step}: {type(error).__name__}: {error}".splitlines()[0].strip())
    assert "more" not in reason
    assert "Traceback" in (tmp_path / "out" / "predict.log").read_text()
    assert (tmp_path / "out" / "none_1.nii.gz").is_file()
    assert not (tmp_path / "out" / "ball_0.nii.gz").exists()
    with (tmp_path / "out" / "cases.csv").open() as table:
        assert [row["case"] for row in csv.DictReader(table)] == ["none_1"]


@pytest.mark.parametrize(("outside_gland", "found"), [("mark", 1), ("drop", 0)])
def test_a_candidate_outside_the_gland_is_marked_or_dropped(
    predict: Predict, images: Path, tmp_path: Path, outside_gland: str, found: int
) -> None:
    zones, out = tmp_path / "zones", tmp_path / "out"
    zones.mkdir()
    predict()
    ball = read(out / "ball_0.nii.gz") > 0
    far = np.ones_like(ball)
    low, high = (edge(np.argwhere(ball)[:, 2]) for edge in (np.min, np.max))
    far[:, :, max(0, low - 5) : high + 6] = False  # voxels of 1 mm: more than the margin away
    assert far.any()
    for name in ("ball_0", "none_1"):
        image = sitk.ReadImage(str(images / f"{name}_0000.nii.gz"))
        zone = sitk.GetImageFromArray(far.astype(np.uint8))
        zone.CopyInformation(image)
        sitk.WriteImage(zone, str(zones / f"{name}.nii.gz"))
    summary = predict(folder=tmp_path / "marked", zones=zones, outside_gland=outside_gland)
    record = json.loads((tmp_path / "marked" / "cases" / "ball_0.json").read_text())
    assert [c["outside_gland"] for c in record["candidates"]] == [True] * found
    assert bool(record["case_likelihood"]) == bool(found)
    assert read(tmp_path / "marked" / "detection_maps" / "ball_0_detection_map.nii.gz").any() == bool(found)
    assert any("outside the gland" in remark for remark in summary.remarks["ball_0"])
    lesions = list(csv.DictReader((tmp_path / "marked" / "lesions.csv").open()))
    assert [row["outside_gland"] for row in lesions] == ["yes"] * found


def test_dropping_needs_to_know_where_the_gland_is(predict: Predict) -> None:
    with pytest.raises(DataError, match="Nothing says where the gland is"):
        predict(outside_gland="drop")


def fingerprint(folder: Path, spacing: tuple[float, ...], shape: tuple[int, ...]) -> None:
    content = {"spacings": [spacing] * 4, "shapes_after_crop": [shape] * 4}
    (folder / "dataset_fingerprint.json").write_text(json.dumps(content))


def test_a_case_unlike_the_training_data_is_called_so(predict: Predict, model: Model, tmp_path: Path) -> None:
    trained = Path(shutil.copytree(model.folder, tmp_path / "trained"))
    ranges = [[[-2.0, -1.0]] + [[-0.5, 1.5]] * 5 + [[0.5, 4.0]]] * 3
    intensities = {"levels": [], "ranges": ranges}
    (trained / "fold_0" / "training_intensities.json").write_text(json.dumps(intensities))
    fingerprint(trained, (3.0, 1.0, 1.0), (9, 32, 36))
    assert predict(trained=trained).remarks == {}
    rows = list(csv.DictReader((tmp_path / "out" / "cases.csv").open()))
    assert {row["unlike_training"] for row in rows} == {"no"}
    assert all(float(row["training_distance"]) < 1 for row in rows)

    fingerprint(trained, (1.0, 1.0, 1.0), (9, 32, 36))
    ranges[1] = [[8.0, 9.0]] * 7
    (trained / "fold_0" / "training_intensities.json").write_text(json.dumps(intensities))
    summary = predict(trained=trained)
    (remark,) = summary.remarks["ball_0"]
    assert "voxel size z 3.0 mm (training: 1.0 to 1.0)" in remark
    assert "intensities of ADC" in remark
    assert "T2W" not in remark


def test_a_model_that_nnunet_exported_and_installed_still_knows_its_training_data(
    predict: Predict, model: Model, tmp_path: Path, nnunet_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nnU-Net's ZIP has checkpoints, plans and fingerprint, but not training_intensities.json."""
    results, name = nnunet_folders / "results", "nnUNetTrainerAlignRefine__nnUNetPlans__3d_fullres"
    trained = Path(shutil.copytree(model.folder, results / "Dataset902_Tiny" / name))
    fingerprint(trained, (3.0, 1.0, 1.0), (9, 32, 36))
    checkpoint = trained / "fold_0" / "checkpoint_final.pth"
    content = torch.load(checkpoint, weights_only=False)
    torch.save({**content, "logging": {LOGGED: {"ranges": [[[8.0, 9.0]] * 7] * 3}}}, checkpoint)
    (trained / "fold_0" / "validation").mkdir()
    for file in ("progress.png", "validation/summary.json"):
        (trained / "fold_0" / file).touch()
    installed = tmp_path / "installed"
    for module in (model_export, model_import, file_path_utilities):
        monkeypatch.setattr(module, "nnUNet_results", str(results), raising=False)
    model_export.export_pretrained_model(
        "Dataset902_Tiny", str(tmp_path / "model.zip"), ("3d_fullres",), "nnUNetTrainerAlignRefine", folds=(0,)
    )
    monkeypatch.setattr(model_import, "nnUNet_results", str(installed))
    model_import.install_model_from_zip_file(str(tmp_path / "model.zip"))
    summary = predict(trained=installed / "Dataset902_Tiny" / name)
    assert "intensities of T2W; intensities of ADC; intensities of HBV" in summary.remarks["ball_0"][0]


def test_what_is_not_known_of_the_training_data_is_said(predict: Predict, model: Model, tmp_path: Path) -> None:
    predict()
    rows = list(csv.DictReader((tmp_path / "out" / "cases.csv").open()))
    assert {(row["unlike_training"], row["training_distance"]) for row in rows} == {("unknown", "")}
    trained = Path(shutil.copytree(model.folder, tmp_path / "trained"))
    fingerprint(trained, (3.0, 1.0, 1.0), (9, 32, 36))
    predict(trained=trained, folder=tmp_path / "known")
    rows = list(csv.DictReader((tmp_path / "known" / "cases.csv").open()))
    assert {row["unlike_training"] for row in rows} == {"no (intensities unknown)"}


def test_a_damaged_fingerprint_is_an_error(predict: Predict, model: Model, tmp_path: Path) -> None:
    trained = Path(shutil.copytree(model.folder, tmp_path / "trained"))
    (trained / "dataset_fingerprint.json").write_text('{"spacings": [[1, 2]], "shapes_after_crop": "?"}')
    with pytest.raises(DataError, match="does not hold what it should"):
        predict(trained=trained)


def test_a_heatmap_that_was_never_calibrated_is_called_so(
    predict: Predict, model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predict(heatmaps=True)
    record = tmp_path / "out" / "predict_from_raw_data_args.json"
    assert "never calibrated" in json.loads(record.read_text())["warning"]
    assert "never calibrated" in capsys.readouterr().out
    trained = Path(shutil.copytree(model.folder, tmp_path / "trained"))
    path = trained / "fold_0" / "checkpoint_final.pth"
    content = torch.load(path, weights_only=False)
    content["network_weights"]["alignment.calibration.mass"] += 1
    torch.save(content, path)
    predict(trained=trained, heatmaps=True, folder=tmp_path / "fitted")
    assert "never calibrated" not in capsys.readouterr().out
    assert "warning" not in json.loads((tmp_path / "fitted" / record.name).read_text())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_voxels_that_are_not_finite_fail_their_case(predict: Predict, source: Path, value: float) -> None:
    """ITK reads them as zeros and says nothing."""
    path = source / "ball_0_0001.nii.gz"
    image = nibabel.load(path)
    values = image.get_fdata(dtype=np.float32)
    values[3:5, 3:5, 2] = value
    nibabel.save(nibabel.Nifti1Image(values, image.affine), path)
    summary = predict(source)
    assert summary.predicted == ["none_1"]
    assert "4 voxels are NaN or infinite" in summary.failed["ball_0"]
    assert "ball_0_0001.nii.gz" in summary.failed["ball_0"]


@pytest.mark.parametrize("codes", [(1, 1), (1, 0), (0, 1), (0, 0)], ids=["both", "qform", "sform", "neither"])
@pytest.mark.parametrize("size", [0.0, -1.0, np.nan, np.inf])
def test_voxels_of_no_size_fail_their_case(predict: Predict, source: Path, size: float, codes: tuple[int, int]) -> None:
    """ITK reads them as 1 mm and says nothing: volumes and distances would mean something else."""
    for path in source.glob("ball_0_*"):
        header = bytearray(gzip.decompress(path.read_bytes()))
        struct.pack_into("<f", header, 88, size)  # pixdim[3]
        struct.pack_into("<hh", header, 252, *codes)
        path.write_bytes(gzip.compress(bytes(header)))
    summary = predict(source)
    assert summary.predicted == ["none_1"]
    assert f"how large the voxels are and where they lie: 1 x 1 x {size:g} mm" in summary.failed["ball_0"]
    for reads in (read_image, read_header):
        with pytest.raises(DataError, match="how large the voxels are"):
            reads(source / "ball_0_0000.nii.gz")


def test_a_file_of_several_volumes_fails_its_case_in_words(predict: Predict, source: Path) -> None:
    for path in source.glob("ball_0_*"):
        image = nibabel.load(path)
        values = np.stack([image.get_fdata(dtype=np.float32)] * 2, axis=-1)
        nibabel.save(nibabel.Nifti1Image(values, image.affine), path)
    summary = predict(source)
    assert summary.predicted == ["none_1"]
    assert "not one 3D volume but 4D, size (36, 32, 9, 2)" in summary.failed["ball_0"]


@pytest.mark.parametrize("step", [0, -0.5, 1.5, float("nan"), float("inf")])
def test_a_step_out_of_range_is_refused_from_python_too(predict: Predict, step: float) -> None:
    with pytest.raises(DataError, match="is out of range"):
        predict(model_options={"step_size": step})


@pytest.mark.parametrize("step", [1e-9, 0.03])
def test_a_step_of_less_than_a_voxel_is_refused(predict: Predict, step: float) -> None:
    with pytest.raises(
        DataError, match=r"of a window of 8 x 32 x 32 voxels is less than one voxel(?s:.*)At least 0.032"
    ):
        predict(model_options={"step_size": step})


def test_a_fold_that_is_named_twice_counts_once(predict: Predict, tmp_path: Path) -> None:
    predict(folds=(1, 0, 1))
    record = json.loads((tmp_path / "out" / "predict_from_raw_data_args.json").read_text())
    assert record["model"]["folds"] == [1, 0]


@pytest.mark.parametrize("value", [7, -1, 0.6])
def test_zones_are_known_values(predict: Predict, images: Path, tmp_path: Path, value: float) -> None:
    zones = tmp_path / "zones"
    zones.mkdir()
    for name, zone in (("ball_0", value), ("none_1", 2)):
        image = sitk.ReadImage(str(images / f"{name}_0000.nii.gz")) * 0 + zone
        sitk.WriteImage(sitk.Cast(image, sitk.sitkFloat32), str(zones / f"{name}.nii.gz"))
    summary = predict(zones=zones)
    assert summary.predicted == ["none_1"]
    assert "Zones are 1 PZ, 2 TZ; the rest is 0." in summary.failed["ball_0"]


def test_a_truncated_zone_mask_fails_its_case(predict: Predict, images: Path, tmp_path: Path) -> None:
    """ITK fills what a truncated file lacks with zeros: half of the gland would be outside of the gland."""
    zones = tmp_path / "zones"
    zones.mkdir()
    for name in ("ball_0", "none_1"):
        values = np.random.default_rng(0).integers(0, 3, (9, 32, 36)).astype(np.uint8)
        mask = sitk.GetImageFromArray(values)
        mask.CopyInformation(sitk.ReadImage(str(images / f"{name}_0000.nii.gz")))
        sitk.WriteImage(mask, str(zones / f"{name}.nii.gz"))
    path = zones / "ball_0.nii.gz"
    path.write_bytes(path.read_bytes()[:-400])
    summary = predict(zones=zones)
    assert summary.predicted == ["none_1"]
    assert "truncated or damaged" in summary.failed["ball_0"]


def test_a_folder_of_zones_that_is_not_there_is_told_first(
    images: Path, model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["predict", "-i", str(images), "-o", str(tmp_path / "out"), "-m", str(model.folder), "-f", "0"]
    assert main([*words, "-device", "cpu", "--zones", str(tmp_path / "nowhere")]) == 1
    assert "The folder of zone masks does not exist." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
