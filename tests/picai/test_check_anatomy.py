"""`picai check` of a data set with anatomy: each kind of damage is found with its file, and a sound one passes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import SimpleITK as sitk

from nnunetv2_textguided.picai.check_dataset import check_dataset
from nnunetv2_textguided.picai.options import PrepareOptions
from nnunetv2_textguided.picai.plan import make_plan
from nnunetv2_textguided.picai.preparation import prepare_dataset
from nnunetv2_textguided.picai.problems import Problem, Severity

from .archive_builder import CASES, build_archive

CASE = CASES[0]
ANATOMY = PrepareOptions(classes="anatomy")


def anatomy(dataset: Path, case: str = CASE) -> Path:
    return dataset / "anatomyTr" / f"{case}.nii.gz"


def label(dataset: Path, case: str = CASE) -> Path:
    return dataset / "labelsTr" / f"{case}.nii.gz"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound data set with anatomy, prepared once."""
    root = tmp_path_factory.mktemp("sound")
    dataset = root / "Dataset2203_PICAI"
    builder = build_archive(root)
    plan = make_plan(builder.images, builder.labels, dataset, ANATOMY)
    prepare_dataset(plan, dataset, ANATOMY, workers=1, overwrite=False, progress=False)
    return dataset


@pytest.fixture
def dataset(prepared: Path, tmp_path: Path) -> Path:
    """A copy of it to damage."""
    return Path(shutil.copytree(prepared, tmp_path / prepared.name))


def errors(folder: Path) -> list[Problem]:
    return [f for f in check_dataset(folder, workers=1, progress=False) if f.severity is Severity.ERROR]


def missing(dataset: Path) -> Path:
    anatomy(dataset).unlink()
    return anatomy(dataset)


def without_folder(dataset: Path) -> Path:
    shutil.rmtree(dataset / "anatomyTr")
    return anatomy(dataset, CASES[3])


def wrong_value(dataset: Path) -> Path:
    zones = sitk.ReadImage(str(anatomy(dataset)))
    sitk.WriteImage(zones + (zones == 2), str(anatomy(dataset)))
    return anatomy(dataset)


def another_size(dataset: Path) -> Path:
    sitk.WriteImage(sitk.ReadImage(str(anatomy(dataset)))[:, :, 1:], str(anatomy(dataset)))
    return anatomy(dataset)


def moved(dataset: Path) -> Path:
    zones = sitk.ReadImage(str(anatomy(dataset)))
    zones.SetOrigin((0.5, 0.0, 0.0))  # by one voxel
    sitk.WriteImage(zones, str(anatomy(dataset)))
    return anatomy(dataset)


def cut(dataset: Path) -> Path:
    path = anatomy(dataset)
    path.write_bytes(path.read_bytes()[:-20])
    return path


def of_no_case(dataset: Path) -> Path:
    return Path(shutil.copy(anatomy(dataset), anatomy(dataset, "10099_1000099")))


def left_over(dataset: Path) -> Path:
    path = dataset / "anatomyTr" / f".{CASE}.nii.gz.x.partial.nii.gz"
    path.touch()
    return path


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (missing, "The anatomy of the case is missing"),
        (without_folder, "The anatomy of the case is missing"),
        (wrong_value, "has the values [3]; allowed are [0, 1, 2]"),
        (another_size, "The anatomy is not on the grid of the label: another size"),
        (moved, "The anatomy is not on the grid of the label: corners 1.000 voxels"),
        (cut, "truncated or damaged"),
        (of_no_case, "The anatomy belongs to no label"),
        (left_over, "left from a run that was killed"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_damaged_anatomy_is_found_with_its_file(dataset: Path, damage: Callable, message: str) -> None:
    path = damage(dataset)
    found = errors(dataset)
    assert {f.where for f in found if message in f.what} >= {str(path)}
    assert all(message in f.what and f.remedy for f in found), "nothing else is wrong"


def test_a_sound_anatomy_has_no_error(dataset: Path) -> None:
    assert errors(dataset) == []


def test_an_anatomy_is_compared_with_its_label_not_with_the_image(dataset: Path) -> None:
    for path in (label(dataset), anatomy(dataset)):
        sitk.WriteImage(sitk.ReadImage(str(path))[:, :, 1:], str(path))
    assert [f.what for f in errors(dataset)] == ["The label is not on the grid of channel 0: another size."]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["peripheral zone"], "'anatomy' is ['peripheral zone']"),
        (None, "'anatomy' is None"),
        ({"peripheral zone": 0}, "'peripheral zone' has the value 0"),
        ({"peripheral zone": True}, "'peripheral zone' has the value True"),
        ({"peripheral zone": [1, 2]}, "'peripheral zone' has the value [1, 2]"),
        ({"peripheral zone": 1, "transition zone": 1}, "share a value"),
    ],
)
def test_names_that_are_none_are_found_and_the_rest_is_checked(dataset: Path, names: Any, message: str) -> None:
    path = dataset / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "anatomy": names}))
    label(dataset).write_bytes(b"")
    found = errors(dataset)
    assert [f.where for f in found if message in f.what and f.remedy] == [str(path)]
    assert {f.where for f in found} == {str(path), str(label(dataset))}


def test_without_the_key_nothing_is_asked_of_anatomy(dataset: Path) -> None:
    path = dataset / "dataset.json"
    description = json.loads(path.read_text())
    del description["anatomy"]
    path.write_text(json.dumps(description))
    shutil.rmtree(dataset / "anatomyTr")
    assert errors(dataset) == []
