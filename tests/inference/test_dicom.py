"""DICOM in and out: which series is which channel, checked volumes, segmentation and report that read back."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_textguided.errors import DataError

pydicom = pytest.importorskip("pydicom")
hd = pytest.importorskip("highdicom")

from nnunetv2_textguided.inference.dicom.choose import choose_series  # noqa: E402
from nnunetv2_textguided.inference.dicom.series import find_series  # noqa: E402
from nnunetv2_textguided.inference.dicom.volume import read_series, scaled_adc  # noqa: E402
from nnunetv2_textguided.inference.dicom.write import RESEARCH_ONLY, Found, write_objects  # noqa: E402
from tests.inference.dicom_writer import Study  # noqa: E402

CHANNELS = ("T2W", "ADC", "HBV")


def volume(
    low: int, high: int, *, tilt: float = 0.0, size: tuple[int, int, int] = (24, 20, 8), seed: int = 0
) -> sitk.Image:
    """Random uint16 voxels; the slices tilted about the left-right axis by `tilt` degrees."""
    random = np.random.default_rng(seed)
    image = sitk.GetImageFromArray(random.integers(low, high, size[::-1]).astype(np.uint16))
    image.SetSpacing((0.5, 0.5, 3.0))
    image.SetOrigin((-10.0, 5.0, -20.0))
    c, s = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    image.SetDirection((1.0, 0, 0, 0, c, -s, 0, s, c))
    return image


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """A usual bpMRI study: T2W in three planes, diffusion with three b-values, ADC, calculated high b, a localiser."""
    made = Study(tmp_path / "study")
    made.series(volume(50, 500, tilt=23), 3, "t2_tse_tra_320")
    sagittal = volume(50, 500)
    sagittal.SetDirection((0.0, 0, 1, 1, 0, 0, 0, 1, 0))
    made.series(sagittal, 2, "t2_tse_sag")
    made.series(volume(5, 60), 5, "ep2d_diff_b50_400_800_tra", b_values=(50, 400, 800))
    made.series(volume(600, 2000, seed=1), 6, "ep2d_diff_ADC", image_type=("DERIVED", "PRIMARY", "DIFFUSION", "ADC"))
    made.series(volume(5, 60, seed=2), 7, "ep2d_diff_CALC_BVAL", b_values=(1400,))
    made.series(volume(50, 500, size=(24, 20, 3)), 1, "localizer")
    return made


def chosen(study: Study, **overrule: str) -> dict[str, str]:
    series, _ = find_series(study.folder)
    found = choose_series(series, CHANNELS, study.folder, overrule)
    return {channel: choice.series.number for channel, choice in found.items()}


def test_channels_are_found_by_their_attributes(study: Study) -> None:
    assert chosen(study) == {"T2W": "3", "ADC": "6", "HBV": "7"}
    series, _ = find_series(study.folder)
    found = choose_series(series, CHANNELS, study.folder)
    assert "ImageType says ADC" in found["ADC"].reason
    assert "b = 1400" in found["HBV"].reason


def test_two_t2_series_are_listed_and_one_can_be_named(study: Study) -> None:
    study.series(volume(50, 500), 4, "t2_tse_tra_repeat")
    with pytest.raises(DataError, match=r"2 series fit(.|\n)*tra_320(.|\n)*tra_repeat(.|\n)*--series T2W="):
        chosen(study)
    assert chosen(study, T2W="4")["T2W"] == "4"
    with pytest.raises(DataError, match="0 series are called '99'"):
        chosen(study, T2W="99")


def test_a_channel_that_is_not_there(study: Study) -> None:
    shutil.rmtree(study.folder / "006")
    with pytest.raises(DataError, match="ADC: no series fits"):
        chosen(study)


def test_of_several_b_values_the_highest_is_read(study: Study) -> None:
    shutil.rmtree(study.folder / "007")
    series, _ = find_series(study.folder)
    choice = choose_series(series, ("HBV",), study.folder)["HBV"]
    assert (choice.series.number, choice.b_value) == ("5", 800)
    image, datasets = read_series(choice.series, choice.b_value)
    assert len(datasets) == 8
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(volume(5, 60)))
    with pytest.raises(DataError, match="lie where another one lies"):
        read_series(choice.series)


@pytest.mark.parametrize("tilt", [0.0, 23.0])
@pytest.mark.parametrize("enhanced", [False, True])
def test_a_volume_is_what_was_written(tmp_path: Path, tilt: float, enhanced: bool) -> None:
    original, made = volume(50, 500, tilt=tilt), Study(tmp_path)
    (made.enhanced if enhanced else made.series)(original, 3, "t2_tse_tra")
    (series,), _ = find_series(tmp_path)
    image, _ = read_series(series)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(original))
    for ours, theirs in (("GetOrigin", 1e-6), ("GetSpacing", 1e-6), ("GetDirection", 1e-6)):
        np.testing.assert_allclose(getattr(image, ours)(), getattr(original, ours)(), atol=theirs)


def test_frames_of_one_b_value_of_an_enhanced_series(tmp_path: Path) -> None:
    original, made = volume(50, 500), Study(tmp_path)
    made.enhanced(original, 5, "dwi", b_values=(0, 1400))
    (series,), _ = find_series(tmp_path)
    choice = choose_series([series], ("HBV",), tmp_path)["HBV"]
    image, _ = read_series(choice.series, choice.b_value)
    np.testing.assert_allclose(sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(original) / 2, atol=0.5)


def test_what_is_no_volume(tmp_path: Path) -> None:
    made = Study(tmp_path / "gap")
    folder = made.series(volume(50, 500), 3, "t2_tse_tra")
    (folder / "0004.dcm").unlink()
    (series,), _ = find_series(tmp_path / "gap")
    with pytest.raises(DataError, match="1 slices are missing after slice 3"):
        read_series(series)

    folder = Study(tmp_path / "tilted").series(volume(50, 500), 3, "t2_tse_tra")
    for index, path in enumerate(sorted(folder.iterdir())):
        one = pydicom.dcmread(path)
        one.ImagePositionPatient[1] += 0.5 * index
        one.save_as(path)
    (series,), _ = find_series(tmp_path / "tilted")
    with pytest.raises(DataError, match="gantry was tilted by 9"):
        read_series(series)

    folder = Study(tmp_path / "zero").series(volume(50, 500), 3, "t2_tse_tra")
    for path in folder.iterdir():
        one = pydicom.dcmread(path)
        one.PixelSpacing = [0, 0]
        one.save_as(path)
    (series,), _ = find_series(tmp_path / "zero")
    with pytest.raises(DataError, match="pixel spacing"):
        read_series(series)


def test_files_of_two_patients(study: Study) -> None:
    Study(study.folder, patient="PATIENT2").series(volume(50, 500), 9, "t2_tse_tra")
    with pytest.raises(DataError, match=r"2 patients: PATIENT1, PATIENT2"):
        find_series(study.folder)


def test_other_files_are_told_and_truncated_ones_refused(study: Study) -> None:
    (study.folder / "notes.txt").write_text("no image")
    assert find_series(study.folder)[1] == [study.folder / "notes.txt"]
    (study.folder / "empty").mkdir()
    with pytest.raises(DataError, match="no DICOM image series"):
        find_series(study.folder / "empty")
    path = study.folder / "003" / "0002.dcm"
    path.write_bytes(path.read_bytes()[:-200])
    series, _ = find_series(study.folder)
    with pytest.raises(DataError, match="cannot be decoded"):
        read_series(next(one for one in series if one.number == "3"))


@pytest.mark.parametrize(("factor", "unit"), [(1.0, "1e-6"), (1e-3, "1e-3"), (1e-6, "in mm2/s")])
def test_units_of_adc_are_told_apart_and_said(factor: float, unit: str) -> None:
    original = sitk.Cast(volume(600, 2000), sitk.sitkFloat32)
    found, said = scaled_adc(original * factor)
    assert unit in said
    np.testing.assert_allclose(sitk.GetArrayFromImage(found), sitk.GetArrayFromImage(original), rtol=1e-4)


def test_an_adc_map_without_values() -> None:
    with pytest.raises(DataError, match="fits no unit"):
        scaled_adc(volume(50, 500) * 0)


@pytest.fixture(params=["classic", "enhanced"])
def written(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, sitk.Image, list]:
    """Objects of two lesions on an oblique series: the files' folder, the lesions' numbers, the source data sets."""
    original, made = volume(50, 500, tilt=23), Study(tmp_path / "study")
    (made.enhanced if request.param == "enhanced" else made.series)(original, 3, "t2_tse_tra")
    (series,), _ = find_series(tmp_path / "study")
    image, sources = read_series(series)
    values = np.zeros((8, 20, 24), dtype=np.uint8)
    values[2:4, 3:7, 4:9], values[5, 10:14, 15:20] = 1, 2
    numbers = sitk.GetImageFromArray(values)
    numbers.CopyInformation(image)
    lesions = [
        {"volume_ml": 0.03, "diameter_mm": 5.1, "confidence": 0.8},
        {"volume_ml": 0.015, "diameter_mm": 4, "confidence": 0.4},
    ]
    found = Found(numbers, lesions, 0.8, "csPCa", "Dataset2203_PICAI fold 0", "PI-RADS 4 lesion")
    write_objects(tmp_path / "out", found, sources)
    return tmp_path / "out", numbers, sources


def test_the_segmentation_is_the_mask_in_the_patients_space(written: tuple[Path, sitk.Image, list]) -> None:
    folder, numbers, sources = written
    segmentation = hd.seg.segread(folder / "lesions.seg.dcm")
    assert segmentation.number_of_segments == 2
    for number in (1, 2):
        read = segmentation.get_volume(segment_numbers=[number], combine_segments=True)
        voxels = np.argwhere(read.array > 0)
        points = voxels @ read.affine[:3, :3].T + read.affine[:3, 3]
        expected = np.argwhere(sitk.GetArrayFromImage(numbers) == number)[:, ::-1]
        truth = np.array([numbers.TransformIndexToPhysicalPoint(index.tolist()) for index in expected])
        assert len(points) == len(truth)
        distance = np.linalg.norm(points[:, None] - truth[None], axis=2).min(axis=1)
        assert distance.max() < 1e-3
    description = segmentation.get_segment_description(1)
    assert description.tracking_id == "csPCa 1"
    assert segmentation.PatientID == "PATIENT1"
    assert segmentation.StudyInstanceUID == sources[0].StudyInstanceUID
    referenced = {str(item.SeriesInstanceUID) for item in segmentation.ReferencedSeriesSequence}
    assert referenced == {str(sources[0].SeriesInstanceUID)}
    assert RESEARCH_ONLY in segmentation.ContentDescription


def test_the_report_says_what_was_measured(written: tuple[Path, sitk.Image, list]) -> None:
    folder, _, sources = written
    report = hd.sr.srread(folder / "report.sr.dcm")
    groups = report.content.get_volumetric_roi_measurement_groups()
    assert [group.tracking_identifier for group in groups] == ["csPCa 1", "csPCa 2"]
    values = {one.name.meaning: one.value for one in groups[0].get_measurements()}
    assert values["Volume"] == pytest.approx(0.03)
    assert values["Maximum 3D Diameter"] == pytest.approx(5.1)
    segmentation = hd.seg.segread(folder / "lesions.seg.dcm")
    assert groups[0].reference_type.meaning == "Referenced Segment"
    assert str(segmentation.SOPInstanceUID) in report.to_json()
    assert "PI-RADS 4 lesion" in report.to_json()
    assert RESEARCH_ONLY in report.to_json()
    assert str(sources[0].SOPInstanceUID) in report.to_json()


def test_without_lesions_there_is_a_report_and_no_segmentation(tmp_path: Path) -> None:
    Study(tmp_path / "study").series(volume(50, 500), 3, "t2_tse_tra")
    (series,), _ = find_series(tmp_path / "study")
    image, sources = read_series(series)
    found = Found(sitk.Cast(image * 0, sitk.sitkUInt8), [], 0.02, "csPCa", "model")
    assert [path.name for path in write_objects(tmp_path / "out", found, sources)] == ["report.sr.dcm"]
    report = hd.sr.srread(tmp_path / "out" / "report.sr.dcm")
    assert report.content.get_volumetric_roi_measurement_groups() == []
    assert "csPCa, whole study" in report.to_json()


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (Debian's dicom3tools) is not installed")
def test_an_independent_checker_finds_no_error(written: tuple[Path, sitk.Image, list]) -> None:
    for path in sorted(written[0].glob("*.dcm")):
        done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
        errors = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]
        assert not errors, f"{path.name}: {errors}"
