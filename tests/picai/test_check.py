"""`picai check`: each kind of damage to a prepared data set is found, and a sound one passes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from batchgenerators.utilities.file_and_folder_operations import load_json

from nnunetv2_textguided.cli import main
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.picai.check_dataset import check_dataset
from nnunetv2_textguided.picai.options import PrepareOptions
from nnunetv2_textguided.picai.plan import make_plan
from nnunetv2_textguided.picai.preparation import prepare_dataset
from nnunetv2_textguided.picai.problems import Problem, Severity

from .archive_builder import CASES, build_archive

CASE = CASES[0]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound data set, prepared once."""
    root = tmp_path_factory.mktemp("sound")
    dataset = root / "Dataset2203_PICAI"
    builder = build_archive(root)
    plan = make_plan(builder.images, builder.labels, dataset, PrepareOptions())
    prepare_dataset(plan, dataset, PrepareOptions(), workers=1, overwrite=False, progress=False)
    return dataset


@pytest.fixture
def dataset(prepared: Path, tmp_path: Path) -> Path:
    """A copy of it to damage."""
    return Path(shutil.copytree(prepared, tmp_path / prepared.name))


def errors(folder: Path) -> list[Problem]:
    return [f for f in check_dataset(folder, workers=1, progress=False) if f.severity is Severity.ERROR]


def channel(dataset: Path, number: int, case: str = CASE) -> Path:
    return dataset / "imagesTr" / f"{case}_{number:04d}.nii.gz"


def label(dataset: Path) -> Path:
    return dataset / "labelsTr" / f"{CASE}.nii.gz"


def edit(path: Path, values=None, **header) -> Path:
    image = sitk.ReadImage(str(path))
    if values is not None:
        changed = sitk.GetImageFromArray(values(sitk.GetArrayFromImage(image)))
        changed.CopyInformation(image)
        image = changed
    if "spacing" in header:
        image.SetSpacing(header["spacing"])
    if "direction" in header:
        image.SetDirection(header["direction"])
    sitk.WriteImage(image, str(path))
    return path


def set_seven(values: np.ndarray) -> np.ndarray:
    values[values > 0] = 7
    return values


def set_nan(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float32)
    values[0, 0, 0] = np.nan
    return values


def tilt(degrees: float) -> tuple[float, ...]:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return (c, -s, 0, s, c, 0, 0, 0, 1)


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-200])
    return path


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: edit(channel(d, 1), spacing=(0.6, 0.5, 3.0)), "not on the grid of channel 0"),
        (lambda d: edit(channel(d, 2), direction=tilt(2)), "not on the grid of channel 0"),
        (lambda d: edit(label(d), direction=tilt(2)), "The label is not on the grid"),
        (lambda d: edit(channel(d, 1), np.zeros_like), "All voxels have the same value (0)"),
        (lambda d: edit(channel(d, 2), lambda v: v * 0 + 5), "All voxels have the same value (5)"),
        (lambda d: edit(channel(d, 0), set_nan), "1 voxels are NaN or infinite"),
        (lambda d: edit(label(d), set_seven), "has the values [7]; allowed are [0, 1]"),
        (lambda d: cut(channel(d, 0)), "truncated or damaged"),
        (lambda d: channel(d, 1).unlink() or channel(d, 1), "A channel of the case is missing"),
        (lambda d: channel(d, 1).rename(channel(d, 7)), "The image belongs to no label"),
    ],
)
def test_damage_is_found_with_its_file(dataset: Path, damage, message: str) -> None:
    path = damage(dataset)
    found = [f for f in errors(dataset) if message in f.what]
    assert found
    assert path.name in found[0].where


def test_a_sound_data_set_has_no_error_and_headers_may_differ_by_rounding(dataset: Path) -> None:
    edit(channel(dataset, 1), direction=tilt(np.degrees(1e-6)))
    assert errors(dataset) == []


def test_a_patient_on_both_sides_of_a_fold_is_found(dataset: Path) -> None:
    path = dataset / "splits_final.json"
    splits = json.loads(path.read_text())
    splits[1] = {"train": list(CASES), "val": [CASES[1]]}
    path.write_text(json.dumps(splits))
    assert any("Leakage: fold 1: patient 10001" in f.what for f in errors(dataset))


def test_the_same_patient_under_two_case_numbers_is_found_by_cases_csv(dataset: Path) -> None:
    path = dataset / "cases.csv"
    path.write_text(path.read_text().replace(f"{CASES[1]},10001,", f"{CASES[1]},10000,"))
    splits = [{"train": [CASES[0]], "val": [CASES[1]]}]
    (dataset / "splits_final.json").write_text(json.dumps(splits))
    assert any("Leakage: fold 0: patient 10000" in f.what for f in errors(dataset))


def test_the_same_images_under_two_patients_are_found(dataset: Path) -> None:
    shutil.copy(channel(dataset, 0), channel(dataset, 0, CASES[3]))
    found = [f for f in errors(dataset) if "voxel for voxel the same" in f.what]
    assert found[0].where == f"{CASES[0]}, {CASES[3]}"


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ([{"train": ["9_9"], "val": list(CASES)}], "Fold 0 names 9_9, which the data set does not have"),
        ({"train": []}, "not a list of"),
        ("nonsense", "not a list of"),
    ],
)
def test_folds_that_do_not_fit_are_found(dataset: Path, splits: object, message: str) -> None:
    (dataset / "splits_final.json").write_text(json.dumps(splits))
    assert any(message in f.what for f in errors(dataset))


def test_a_label_that_contradicts_cases_csv_is_a_warning(dataset: Path) -> None:
    edit(label(dataset), np.zeros_like)
    found = check_dataset(dataset, workers=1, progress=False)
    assert any(f.what == "cases.csv says csPCa, the label has no lesion." for f in found)


def test_the_folds_in_nnunet_preprocessed_are_checked_too(dataset: Path, tmp_path: Path) -> None:
    copy = tmp_path / "preprocessed" / dataset.name / "splits_final.json"
    copy.parent.mkdir(parents=True)
    copy.write_text(json.dumps([{"train": list(CASES), "val": [CASES[0]]}]))
    found = check_dataset(dataset, workers=1, preprocessed=tmp_path / "preprocessed", progress=False)
    assert any("Leakage" in f.what and str(copy) == f.where for f in found)


def test_a_label_without_a_voxel_in_any_case_is_a_warning(dataset: Path) -> None:
    def warned() -> list[str]:
        return [p.what for p in check_dataset(dataset, workers=1, progress=False) if "nothing can be learned" in p.what]

    assert warned() == []
    for path in (dataset / "labelsTr").glob("*.nii.gz"):
        edit(path, np.zeros_like)
    assert warned() == ["No label map has a voxel of csPCa: nothing can be learned of it."]


def test_a_byte_order_mark_that_stops_nnunet_is_an_error(dataset: Path) -> None:
    path = dataset / "dataset.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    with pytest.raises(json.JSONDecodeError, match="BOM"):
        load_json(str(path))
    with pytest.raises(DataError, match="byte order mark"):
        check_dataset(dataset, workers=1, progress=False)


def test_what_is_no_data_set_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        check_dataset(tmp_path, workers=1, progress=False)
    (tmp_path / "dataset.json").write_text('{"modality": {}}')
    with pytest.raises(DataError, match="not nnU-Net v2's"):
        check_dataset(tmp_path, workers=1, progress=False)


def test_the_command_reports_in_words_in_json_and_in_its_status(dataset: Path, tmp_path: Path, capsys) -> None:
    assert main(["picai", "check", str(dataset), "--jobs", "1"]) == 0
    assert "0 errors" in capsys.readouterr().out
    edit(label(dataset), set_seven)
    assert main(["picai", "check", str(dataset), "--jobs", "1", "--json", str(tmp_path / "problems.json")]) == 1
    assert "what to do:" in capsys.readouterr().out
    problems = json.loads((tmp_path / "problems.json").read_text())
    assert problems[0]["severity"] == "error"
    assert problems[0]["where"].endswith(f"{CASE}.nii.gz")
