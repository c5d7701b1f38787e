"""Hospitals' exports, good and bad: each is read as it is meant, or an error names file and remedy."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_textguided.cli import main
from nnunetv2_textguided.errors import DataError

pydicom = pytest.importorskip("pydicom")
hd = pytest.importorskip("highdicom")

from nnunetv2_textguided.inference.dicom.series import find_series  # noqa: E402
from nnunetv2_textguided.inference.dicom.volume import read_series  # noqa: E402
from tests.inference.dicom_writer import Study  # noqa: E402
from tests.inference.test_dicom import volume  # noqa: E402
from tests.inference.test_patient import OFFSET, SCALE, channels, image, plain_adc  # noqa: E402, F401

Uid = pydicom.uid


def changed(path: Path, **attributes: object) -> None:
    """Overwrite attributes of a file; None removes one."""
    one = pydicom.dcmread(path)
    for key, value in attributes.items():
        if value is None:
            delattr(one, key)
        else:
            setattr(one, key, value)
    one.save_as(path)


def read_only_series(folder: Path) -> sitk.Image:
    (series,), _ = find_series(folder)
    return read_series(series)[0]


@pytest.mark.parametrize("syntax", ["RLELossless", "JPEGLSLossless", "JPEG2000Lossless"])
def test_lossless_compression_changes_no_voxel(tmp_path: Path, syntax: str) -> None:
    uid, original = getattr(Uid, syntax), volume(50, 500, size=(64, 64, 4))
    if not pydicom.pixels.get_encoder(uid).is_available:
        pytest.skip(f"no encoder of {syntax} is installed")
    folder = Study(tmp_path).series(original, 3, "t2_tse_tra")
    for path in folder.iterdir():
        one = pydicom.dcmread(path)
        one.compress(uid, generate_instance_uid=False)
        one.save_as(path)
        assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == uid
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_only_series(tmp_path)), sitk.GetArrayFromImage(original))


def test_compression_that_nothing_installed_can_decode_is_an_error_that_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Study(tmp_path).series(volume(50, 500), 3, "t2_tse_tra")
    for path in folder.iterdir():
        one = pydicom.dcmread(path)
        one.compress(Uid.RLELossless, generate_instance_uid=False)
        one.save_as(path)
    decoder = pydicom.pixels.get_decoder(Uid.RLELossless)
    monkeypatch.setattr(decoder, "_available", {})
    with pytest.raises(DataError, match=r"series 3 cannot be decoded(.|\n)*uncompressed, or pip install pylibjpeg"):
        read_only_series(tmp_path)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("empty", "empty or no DICOM"),
        ("no DICOM", "empty or no DICOM"),
        ("header cut", "its header lacks SOPClassUID|its header lacks SeriesInstanceUID"),
        ("header overwritten", "its header lacks SOPClassUID"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*(explicit VR|End of file|VR):UserWarning")
def test_a_damaged_file_is_named_and_no_slice_less_is_read(tmp_path: Path, damage: str, said: str) -> None:
    last = Study(tmp_path).series(volume(50, 500), 3, "t2_tse_tra") / "0008.dcm"
    content = last.read_bytes()
    damaged = {
        "empty": b"",
        "no DICOM": b"x" * 3000,
        "header cut": content[:500],
        "header overwritten": content[:300] + b"\xff" * 3000,
    }
    last.write_bytes(damaged[damage])
    with pytest.raises(DataError, match=rf"({said})(.|\n)*0008\.dcm(.|\n)*copy the study again"):
        find_series(tmp_path)


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Study(tmp_path).series(volume(50, 500), 3, "t2_tse_tra")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pydicom, "dcmread", refuse)
    with pytest.raises(DataError, match=r"Permission denied(.|\n)*0001\.dcm"):
        find_series(tmp_path)


def test_slices_that_are_not_uniform(tmp_path: Path) -> None:
    folder = Study(tmp_path).series(volume(50, 500), 3, "t2_tse_tra")
    one = pydicom.dcmread(folder / "0005.dcm")
    changed(
        folder / "0005.dcm", ImagePositionPatient=[*one.ImagePositionPatient[:2], one.ImagePositionPatient[2] + 0.8]
    )
    with pytest.raises(DataError, match=r"slices are not uniform: distances of 2\.20 to 3\.80 mm"):
        read_only_series(tmp_path)


def test_slices_of_two_sizes_and_of_two_planes(tmp_path: Path) -> None:
    folder = Study(tmp_path / "sizes").series(volume(50, 500), 3, "t2_tse_tra")
    changed(folder / "0005.dcm", PixelSpacing=[0.7, 0.7])
    with pytest.raises(DataError, match="differ in size or pixel spacing"):
        read_only_series(tmp_path / "sizes")
    folder = Study(tmp_path / "planes").series(volume(50, 500), 3, "t2_tse_tra")
    changed(folder / "0005.dcm", ImageOrientationPatient=[1, 0, 0, 0, 0.9962, 0.0872])
    with pytest.raises(DataError, match="lie in different planes"):
        read_only_series(tmp_path / "planes")


def test_an_export_with_dicomdir_reports_and_names_without_ending(tmp_path: Path) -> None:
    from pydicom.fileset import FileSet

    original = volume(50, 500)
    folder = Study(tmp_path / "files").series(original, 3, "t2_tse_tra")
    exported = FileSet()
    for path in folder.iterdir():
        exported.add(path)
    exported.write(tmp_path / "CD")
    assert (tmp_path / "CD" / "DICOMDIR").is_file()
    (tmp_path / "CD" / "AUTORUN.INF").write_text("[autorun]")
    assert not list((tmp_path / "CD").rglob("*.dcm"))
    (series,), foreign = find_series(tmp_path / "CD")
    assert [path.name for path in foreign] == ["AUTORUN.INF"]
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_series(series)[0]), sitk.GetArrayFromImage(original))


def study_of(folder: Path, **attributes: object) -> list[Path]:
    """A study that the tiny model reads, its files with these attributes."""
    made = Study(folder)
    folders = [
        made.series(image(one * SCALE + OFFSET), number, name)
        for number, (one, name) in enumerate(zip(channels(), ("t2_tra", "flair", "high"), strict=True), start=1)
    ]
    for path in folder.rglob("*.dcm"):
        changed(path, **attributes)
    return folders


def command(model: Path, out: Path, folders: list[Path]) -> list[str]:
    words = [
        "predict-case",
        "-m",
        model,
        "-o",
        out,
        "--device",
        "cpu",
        "--candidates",
        "mask",
        "--disable_tta",
        "--dicom",
    ]
    for flag, folder in zip(("--t2w", "--flair", "--high-b"), folders, strict=True):
        words += [flag, folder]
    return [str(word) for word in words]


@pytest.mark.parametrize(
    ("charset", "name"),
    [("ISO_IR 100", "Müller^Jörg"), ("ISO_IR 192", "Łukasz^Żółć"), (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎")],
)
def test_names_of_patients_and_folders_that_are_not_ascii(
    plain_adc: Path,  # noqa: F811
    tmp_path: Path,
    charset: object,
    name: str,
) -> None:
    home = tmp_path / "Größe & Übung (1)"
    folders = study_of(home / "étude de M. Ångström", SpecificCharacterSet=charset, PatientName=name)
    out = home / "výsledky 山田"
    assert main([*command(plain_adc, out, folders), "--name", "påtient 1"]) == 0
    assert str(hd.seg.segread(out / "lesions.seg.dcm").PatientName) == name
    assert str(pydicom.dcmread(out / "report.sr.dcm").PatientName) == name
    assert (out / "påtient 1.nii.gz").is_file()
    assert "påtient 1" in (out / "report.html").read_text(encoding="utf-8")


def test_two_patients_in_one_study_leave_no_output(
    plain_adc: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    study_of(tmp_path / "study")
    Study(tmp_path / "study", patient="PATIENT2").series(volume(50, 500), 9, "t2_tse_tra")
    words = ["predict-case", "-m", plain_adc, "-o", tmp_path / "out", "--study", tmp_path / "study", "--device", "cpu"]
    assert main([str(word) for word in [*words, "--candidates", "mask"]]) == 1
    assert "2 patients: PATIENT1, PATIENT2" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_written_is_told_before_anything_is_predicted(
    plain_adc: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folders = study_of(tmp_path / "study")
    (tmp_path / "file").write_text("a file, no folder")
    assert main(command(plain_adc, tmp_path / "file" / "out", folders)) == 1
    assert "Nothing can be written there: Not a directory" in capsys.readouterr().err
    words = [
        "predict",
        "-i",
        tmp_path,
        "--layout",
        "studies",
        "-o",
        tmp_path / "file",
        "-m",
        plain_adc,
        "--device",
        "cpu",
    ]
    assert main([*map(str, words), "-f", "0"]) == 1
    assert "Nothing can be written there" in capsys.readouterr().err
    if os.geteuid() == 0 or shutil.which("chmod") is None:
        return  # root writes where nobody may
    (tmp_path / "locked").mkdir(mode=0o500)
    assert main(command(plain_adc, tmp_path / "locked" / "out", folders)) == 1
    assert "Permission denied" in capsys.readouterr().err
