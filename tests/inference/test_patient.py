"""One patient: the same answer from files, images, arrays and DICOM; report and DICOM objects; clear refusals."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

import nnunetv2_textguided
from nnunetv2_textguided.cli import main
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.inference.patient import LoadedModel, Result
from tests.inference.models import PATCH, SPACING, Model, scene

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SCALE, OFFSET = 1000.0, 2000.0  # DICOM stores no negative values: what the network saw, times and plus


def channels(seed: int = 7, balls: int = 1) -> list[np.ndarray]:
    """T2W, ADC and HBV, (z, y, x), as the tiny model has learned to read them."""
    return list(scene(np.random.default_rng(seed), PATCH, balls)[0])


def image(values: np.ndarray, tilt: float = 0.0) -> sitk.Image:
    made = sitk.GetImageFromArray(values.astype(np.float32))
    made.SetSpacing(SPACING[::-1])
    c, s = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    made.SetDirection((1.0, 0, 0, 0, c, -s, 0, s, c))
    return made


@pytest.fixture(scope="module")
def plain_adc(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model under a name whose second channel has no unit to be told: its voxels are noise, no ADC."""
    folder = tmp_path_factory.mktemp("plain") / "Dataset902_Tiny" / "trainer__plans__3d_fullres"
    shutil.copytree(model.folder, folder)
    path = folder / "dataset.json"
    content = json.loads(path.read_text())
    content["channel_names"] = {"0": "T2W", "1": "Flair", "2": "High-b"}
    path.write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def loaded(plain_adc: Path) -> LoadedModel:
    return nnunetv2_textguided.load(plain_adc, candidates="mask", folds=(0,), mirroring=False)


def named(values: list) -> dict:
    return dict(zip(("t2w", "flair", "high_b"), values, strict=True))


def same(a: Result, b: Result) -> None:
    np.testing.assert_array_equal(sitk.GetArrayFromImage(a.mask), sitk.GetArrayFromImage(b.mask))
    assert [lesion["volume_ml"] for lesion in a.lesions] == [lesion["volume_ml"] for lesion in b.lesions]


def test_files_images_and_arrays_give_one_answer(loaded: LoadedModel, tmp_path: Path) -> None:
    values = channels()
    files = []
    for number, one in enumerate(values):
        files.append(tmp_path / f"scan{number}.mha")
        sitk.WriteImage(image(one), str(files[-1]))
    first = loaded.predict(**named([image(one) for one in values]))
    assert loaded.channels == ("T2W", "Flair", "High-b")
    assert len(first.lesions) >= 1
    assert first.probability is not None
    assert first.lesion_numbers is not None
    assert sitk.GetArrayFromImage(first.lesion_numbers).max() == len(first.lesions)
    assert first.likelihood == first.lesions[0]["confidence"]
    same(first, loaded.predict(**named(files)))
    same(first, loaded.predict(**named([(one, SPACING) for one in values])))


def test_a_channel_on_another_grid_is_brought_onto_the_first(loaded: LoadedModel) -> None:
    values = channels()
    coarse = image(values[1])
    coarse = sitk.Resample(coarse, [16, 16, 8], sitk.Transform(), sitk.sitkLinear, coarse.GetOrigin(), [2.0, 2.0, 3.0])
    result = loaded.predict(**named([image(values[0]), coarse, image(values[2])]))
    assert any("Flair resampled onto the grid of T2W" in decision for decision in result.decisions)
    assert result.mask.GetSize() == (32, 32, 8)


def test_what_is_missing_or_elsewhere_is_an_error(loaded: LoadedModel) -> None:
    values = [image(one) for one in channels()]
    with pytest.raises(DataError, match=r"T2W, Flair, High-b: High-b missing(.|\n)*--high-b FILE"):
        loaded.predict(t2w=values[0], flair=values[1])
    with pytest.raises(DataError, match="dwi unknown"):
        loaded.predict(**named(values), dwi=values[0])
    with pytest.raises(DataError, match="All voxels of High-b have the same value"):
        loaded.predict(**named([*values[:2], values[2] * 0]))
    elsewhere = sitk.Image(values[2])
    elsewhere.SetOrigin((300.0, 0.0, 0.0))
    with pytest.raises(DataError, match="geometry does not fit"):
        loaded.predict(**named([*values[:2], elsewhere]))
    with pytest.raises(DataError, match="three positive distances"):
        loaded.predict(**named([(one, (1, 1)) for one in channels()]))


def test_nothing_is_written_for_a_patient_who_cannot_be_predicted(plain_adc: Path, tmp_path: Path) -> None:
    scan = tmp_path / "scan.mha"
    sitk.WriteImage(image(channels()[0]), str(scan))
    command = ["predict-case", "-m", plain_adc, "-o", tmp_path / "out", "--t2w", scan, "--device", "cpu"]
    assert main([*map(str, command), "--candidates", "mask"]) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("tilt", [0.0, 23.0])
def test_a_dicom_study_from_the_command_line(
    plain_adc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], tilt: float
) -> None:
    pytest.importorskip("highdicom")
    import highdicom as hd

    from tests.inference.dicom_writer import Study

    study = Study(tmp_path / "study")
    folders = [
        study.series(image(one * SCALE + OFFSET, tilt), number, name)
        for number, (one, name) in enumerate(zip(channels(), ("t2_tra", "flair", "high"), strict=True), start=1)
    ]
    out = tmp_path / "out"
    command = ["predict-case", "-m", plain_adc, "-o", out, "--t2w", folders[0], "--flair", folders[1], "--high-b"]
    command += [folders[2], "--device", "cpu", "--candidates", "mask", "--dicom", "--disable_tta"]
    assert main(list(map(str, command))) == 0
    printed = capsys.readouterr().out
    assert "research use only" in printed
    page = (out / "report.html").read_text()
    assert "For research use only" in page
    assert "data:image/png;base64," in page
    numbers = sitk.ReadImage(str(out / "lesion_maps" / "case.nii.gz"))
    values = sitk.GetArrayFromImage(numbers)
    assert values.max() >= 1
    segmentation = hd.seg.segread(out / "lesions.seg.dcm")
    assert segmentation.number_of_segments == values.max()
    for lesion in range(1, values.max() + 1):
        read = segmentation.get_volume(segment_numbers=[lesion])
        voxels = np.argwhere(read.array.reshape(read.array.shape[:3]) > 0)
        points = voxels @ read.affine[:3, :3].T + read.affine[:3, 3]
        places = np.argwhere(values == lesion)[:, ::-1]
        expected = np.array([numbers.TransformIndexToPhysicalPoint(index.tolist()) for index in places])
        assert len(points) == len(expected)
        assert np.linalg.norm(points[:, None] - expected[None], axis=2).min(axis=1).max() < 1e-3
    assert (out / "report.sr.dcm").is_file()
    # A second patient does not go into the first one's folder.
    assert main(list(map(str, command))) == 1
    assert "not empty" in capsys.readouterr().err


def test_dicom_objects_need_a_dicom_series(plain_adc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = []
    for number, one in enumerate(channels()):
        files.append(tmp_path / f"scan{number}.mha")
        sitk.WriteImage(image(one), str(files[-1]))
    command = ["predict-case", "-m", plain_adc, "-o", tmp_path / "out", "--device", "cpu", "--candidates", "mask"]
    command += ["--t2w", files[0], "--flair", files[1], "--high-b", files[2], "--dicom"]
    assert main(list(map(str, command))) == 1
    assert "--dicom needs the T2W as DICOM" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_resampling_is_the_preparations(loaded: LoadedModel) -> None:
    """B-spline onto the T2W grid, as picai_prep resamples when a data set is prepared."""
    preprocessing = pytest.importorskip("picai_prep.preprocessing")
    from nnunetv2_textguided.inference.channels import gather

    values = channels()
    coarse = sitk.Resample(
        image(values[1]), [16, 16, 8], sitk.Transform(), sitk.sitkLinear, (0.5, 0.5, 0.0), [2.0, 2.0, 3.0]
    )
    patient = gather(named([image(values[0]), coarse, image(values[2])]), loaded.channels)
    sample = preprocessing.Sample(
        scans=[image(values[0]), coarse, image(values[2])], settings=preprocessing.PreprocessingSettings()
    )
    sample.preprocess()
    for ours, theirs in zip(patient.images, sample.scans, strict=True):
        np.testing.assert_allclose(sitk.GetArrayFromImage(ours), sitk.GetArrayFromImage(theirs), atol=1e-4)


def test_a_folder_of_patients_and_the_one_that_fails(
    plain_adc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "patients"
    for name, count in (("anna", 3), ("bert", 2), ("carl", 3)):
        (source / name).mkdir(parents=True)
        for channel, one in zip(("t2w", "scan_flair", "high-b")[:count], channels(), strict=False):
            sitk.WriteImage(image(one), str(source / name / f"{channel}.mha"))
    (source / ".DS_Store").mkdir()
    out = tmp_path / "out"
    command = ["predict", "--layout", "studies", "-i", source, "-o", out, "-m", plain_adc, "-f", "0", "--device", "cpu"]
    command += ["--candidates", "mask", "-npp", "0", "-nps", "0", "--disable_tta"]
    assert main([str(word) for word in command]) == 1
    told = capsys.readouterr()
    assert "2 predicted, 0 complete before, 1 failed" in told.out
    assert "High-b missing" in told.err
    assert sorted(path.name for path in out.glob("*.nii.gz")) == ["anna.nii.gz", "carl.nii.gz"]
    assert (out / "cases.csv").read_text().count("\n") == 3


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_five_lesions_fit_on_one_sheet_of_paper(loaded: LoadedModel, tmp_path: Path) -> None:
    from dataclasses import replace

    from PIL import Image

    from nnunetv2_textguided.inference.overlays import LINE, PANEL
    from nnunetv2_textguided.inference.patient_report import SHOWN, write_report
    from nnunetv2_textguided.text.case_text import parse_entry

    text = parse_entry({"findings": ["PI-RADS 4 lesion on the left"], "clinical": {"psa_ng_per_ml": 12.3}}, "test")
    result = loaded.predict(**named([image(one) for one in channels()]), text=text)
    lesions = [{**result.lesions[0], "candidate": number} for number in range(1, 6)]
    decisions = tuple(f"HBV: series {number} 'ep2d_diff_b1400_tra' (axial, 19 files): axial" for number in range(6))
    result = replace(
        result, lesions=lesions, decisions=decisions, unlike_training="voxel size y 0.5 mm; " * 5, combined=0.5,
        combined_from=("image", "clinical"),
    )  # fmt: skip
    (tmp_path / "overlays").mkdir()
    Image.new("RGB", (4 * PANEL, 5 * (PANEL + LINE))).save(tmp_path / "overlays" / "case.png")
    write_report(tmp_path / "report.html", result, "case", loaded)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for said in (
        "PSA 12.3 ng/mL",
        "finding: PI-RADS 4 lesion",
        "likelihood by image + clinical",
        "Unlike",
        f"The first {SHOWN} of 5 lesions",
        "checkpoint_final.pth of folds 0 (",
        "trained on 5 cases",
    ):
        assert said in page, said
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"]
    pdf = tmp_path / "report.pdf"
    subprocess.run([*command, f"--print-to-pdf={pdf}", (tmp_path / "report.html").as_uri()], check=True, timeout=300)
    assert len(re.findall(rb"/Type\s*/Page[^s]", pdf.read_bytes())) == 1
