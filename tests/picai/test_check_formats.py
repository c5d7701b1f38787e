"""`picai check` reads what nnU-Net reads, and says of a data set that others made what its makers can do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from PIL import Image

from nnunetv2_textguided.picai.check_dataset import check_dataset
from nnunetv2_textguided.picai.problems import Problem, Severity

RNG = np.random.default_rng(0)


def describe(root: Path, ending: str, channels: tuple[str, ...], number: int = 2, **more: object) -> Path:
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    names = {str(i): name for i, name in enumerate(channels)}
    content = {
        "channel_names": names,
        "labels": {"background": 0, "x": 1},
        "numTraining": number,
        "file_ending": ending,
    }
    (root / "dataset.json").write_text(json.dumps({**content, **more}))
    return root


def flat_label(path: Path) -> None:
    label = np.zeros((32, 32), np.uint8)
    label[8:16, 8:16] = 1
    Image.fromarray(label).save(path)


def errors(folder: Path) -> list[Problem]:
    return [f for f in check_dataset(folder, workers=1, progress=False) if f.severity is Severity.ERROR]


@pytest.fixture
def grey(tmp_path: Path) -> Path:
    """Two cases of one grey channel."""
    root = describe(tmp_path / "Dataset606_Grey", ".png", ("grey",))
    for number in range(2):
        Image.fromarray(RNG.integers(0, 255, (32, 32), np.uint8)).save(root / "imagesTr" / f"case_{number}_0000.png")
        flat_label(root / "labelsTr" / f"case_{number}.png")
    return root


def test_a_valid_png_data_set_has_no_error(grey: Path) -> None:
    splits = [{"train": ["case_0"], "val": ["case_1"]}]
    (grey / "splits_final.json").write_text(json.dumps(splits))
    assert check_dataset(grey, workers=1, progress=False) == []


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif"])
def test_a_colour_image_is_all_channels_in_one_file(tmp_path: Path, ending: str) -> None:
    root = describe(tmp_path / "Dataset607_Colour", ending, ("R", "G", "B"), number=1)
    Image.fromarray(RNG.integers(0, 255, (32, 32, 3), np.uint8)).save(root / "imagesTr" / f"road-1_0000{ending}")
    flat_label(root / "labelsTr" / f"road-1{ending}")
    assert errors(root) == []


def test_flat_medical_images_are_read(tmp_path: Path) -> None:
    root = describe(tmp_path / "Dataset608_Flat", ".nii.gz", ("x",), number=1)
    image = sitk.GetImageFromArray(RNG.random((32, 32)).astype(np.float32))
    sitk.WriteImage(image, str(root / "imagesTr" / "a_0000.nii.gz"))
    sitk.WriteImage(sitk.Cast(image > 0.5, sitk.sitkUInt8), str(root / "labelsTr" / "a.nii.gz"))
    assert errors(root) == []


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.uint16])
def test_tiff_volumes_are_read_as_nnunet_reads_them(tmp_path: Path, kind: type) -> None:
    root = describe(tmp_path / "Dataset609_Tiff", ".tif", ("x",), number=1)
    values = (RNG.random((8, 16, 16)) * 1000).astype(kind)
    tifffile.imwrite(root / "imagesTr" / "a_0000.tif", values)
    tifffile.imwrite(root / "labelsTr" / "a.tif", (values > 500).astype(np.uint8))
    assert errors(root) == []
    tifffile.imwrite(root / "labelsTr" / "a.tif", np.zeros((9, 16, 16), np.uint8))
    assert [f.what for f in errors(root)] == ["The label is not on the grid of channel 0: another size."]


def test_damage_of_a_png_data_set_is_found(grey: Path) -> None:
    path = grey / "imagesTr" / "case_0_0000.png"
    path.write_bytes(path.read_bytes()[:40])
    Image.fromarray(np.full((32, 32), 7, np.uint8)).save(grey / "labelsTr" / "case_1.png")
    found = {Path(f.where).name: f for f in errors(grey)}
    assert set(found) == {"case_0_0000.png", "case_1.png"}
    assert "has the values [7]; allowed are [0, 1]" in found["case_1.png"].what


def test_remedies_for_a_data_set_of_others_name_no_command_of_pi_cai(grey: Path) -> None:
    for path in ((grey / "labelsTr" / "case_1.png"), (grey / "imagesTr" / "case_0_0000.png")):
        path.unlink()
    (grey / "splits_final.json").write_text(json.dumps([{"train": ["case_0"], "val": ["z"]}, {"train": "?"}]))
    found = errors(grey)
    assert len(found) >= 4
    assert not [f for f in found if "picai" in f.remedy or "official" in f.remedy]
    assert all(f.remedy for f in found)


def test_companions_of_macos_are_no_images(grey: Path) -> None:
    for folder in ("imagesTr", "labelsTr"):
        for path in list((grey / folder).iterdir()):
            path.with_name(f"._{path.name}").write_bytes(b"\x00\x05\x16\x07")
    assert errors(grey) == []
