"""`picai prepare --classes anatomy`: labels as with `lesion`, and the zones beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_textguided.cli import main
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.picai import prepare_case as prepare_case_module
from nnunetv2_textguided.picai.options import PrepareOptions

from .archive_builder import CASES, EXPERT, GLAND, ZONES, Builder, block, image, write

CASE = CASES[0]
ANATOMY = PrepareOptions(classes="anatomy")


def read(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def content(dataset: Path, *folders: str) -> dict[str, bytes]:
    return {str(p.relative_to(dataset)): p.read_bytes() for folder in folders for p in (dataset / folder).iterdir()}


def anatomy(dataset: Path, case: str = CASE) -> Path:
    return dataset / "anatomyTr" / f"{case}.nii.gz"


def label(dataset: Path, case: str = CASE) -> Path:
    return dataset / "labelsTr" / f"{case}.nii.gz"


def make_zones_differ(builder: Builder) -> None:
    """Zones off the image's centre in one case, on another grid in the next, of two qualities in the third."""
    box = (slice(1, 7), slice(2, 20), slice(4, 22))
    zones = block(1, *box)
    zones[1:7, 2:9, 4:22] = 2
    write(image(block(1, *box)), builder.label_file(GLAND, CASES[0]))
    write(image(block(3, slice(3, 5), slice(6, 12), slice(8, 12))), builder.label_file(EXPERT, CASES[0]))
    for source in ("HeviAI23", "Yuan23"):
        write(image(zones), builder.label_file(f"{ZONES}/{source}", CASES[0]))
    path = builder.label_file(f"{ZONES}/HeviAI23", CASES[1])
    other = sitk.Resample(
        sitk.ReadImage(str(path)), (40, 40, 6), sitk.Transform(), sitk.sitkNearestNeighbor, (0.0, 0.0, 3.0),
        (0.5, 0.5, 3.0),
    )  # fmt: skip
    write(other, path)
    worse = block(1, slice(1, 5), slice(8, 32), slice(8, 32))
    write(image(worse), builder.label_file(f"{ZONES}/HeviAI23", CASES[2]))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"zone_source": "auto"},
        {"spacing": (3.0, 1.0, 1.0), "matrix_size": (6, 16, 24)},
        {"matrix_size": (8, 20, 22), "crop_centre": "gland"},
    ],
    ids=["t2w-grid", "auto", "resampled", "gland-centred"],
)
def test_labels_are_those_of_lesion_and_the_anatomy_those_of_zones(prepare, builder, options: dict[str, Any]) -> None:
    make_zones_differ(builder)
    dataset, _ = prepare(PrepareOptions(classes="lesion", **options))
    expected = content(dataset, "imagesTr", "labelsTr")
    prepare(PrepareOptions(classes="anatomy", **options), overwrite=True)
    assert content(dataset, "imagesTr", "labelsTr") == expected
    found = {case: read(anatomy(dataset, case)) for case in CASES}
    prepare(PrepareOptions(classes="zones", **options), overwrite=True)
    for case in CASES:
        composed = read(label(dataset, case))
        outside = composed != 3
        assert np.array_equal(found[case][outside], composed[outside])
        one_zone = case == CASES[2] and "zone_source" not in options
        assert set(np.unique(found[case])) == ({0, 1} if one_zone else {0, 1, 2})
        assert (found[case][~outside] > 0).all(), "the synthetic lesions lie in the gland"


def test_the_anatomy_keeps_the_zones_under_lesions_on_the_labels_grid(prepare, builder) -> None:
    dataset, summary = prepare(ANATOMY)
    assert summary.prepared == sorted(CASES)
    zones, lesion = sitk.ReadImage(str(anatomy(dataset))), sitk.ReadImage(str(label(dataset)))
    source = read(builder.label_file(f"{ZONES}/HeviAI23", CASE))
    assert np.array_equal(sitk.GetArrayFromImage(zones), source)
    assert source[sitk.GetArrayFromImage(lesion) > 0].all()
    assert zones.GetPixelID() == sitk.sitkUInt8
    assert len({(i.GetSize(), i.GetSpacing(), i.GetOrigin(), i.GetDirection()) for i in (zones, lesion)}) == 1


def test_dataset_json_names_the_anatomy_beside_the_labels(prepare) -> None:
    dataset, _ = prepare(ANATOMY)
    description = json.loads((dataset / "dataset.json").read_text())
    assert description["labels"] == {"background": 0, "csPCa": 1}
    assert description["anatomy"] == {"peripheral zone": 1, "transition zone": 2}
    assert "HeviAI23" in (dataset / "LICENCE.md").read_text(), "the masks' source is cited"
    prepare(overwrite=True)
    assert "anatomy" not in json.loads((dataset / "dataset.json").read_text())


def test_several_processes_write_the_anatomy_that_one_writes(prepare) -> None:
    dataset, _ = prepare(ANATOMY)
    alone = content(dataset, "anatomyTr")
    assert len(alone) == len(CASES)
    prepare(ANATOMY, overwrite=True, workers=2)
    assert content(dataset, "anatomyTr") == alone


def test_a_case_whose_anatomy_is_missing_or_cut_is_prepared_again(prepare) -> None:
    dataset, _ = prepare(ANATOMY)
    whole = content(dataset, "anatomyTr")
    anatomy(dataset, CASES[1]).unlink()
    anatomy(dataset, CASES[2]).write_bytes(anatomy(dataset, CASES[2]).read_bytes()[:-9])
    partial = dataset / "anatomyTr" / f".{CASES[3]}.nii.gz.x.partial.nii.gz"
    partial.touch()
    _, summary = prepare(ANATOMY)
    assert summary.prepared == [CASES[1], CASES[2]]
    assert summary.up_to_date == [CASES[0], CASES[3]]
    assert content(dataset, "anatomyTr") == whole, "and what a killed run left is removed"


def test_changed_zone_masks_are_noticed(prepare, builder) -> None:
    prepare(ANATOMY)
    write(image(block(2, slice(1, 7), slice(8, 32), slice(8, 32))), builder.label_file(f"{ZONES}/HeviAI23", CASE))
    dataset, summary = prepare(ANATOMY)
    assert summary.prepared == [CASE]
    assert set(np.unique(read(anatomy(dataset)))) == {0, 2}


def test_other_classes_need_overwrite_which_leaves_no_anatomy_behind(prepare) -> None:
    dataset, _ = prepare()
    with pytest.raises(DataError, match=r"classes: lesion -> anatomy"):
        prepare(ANATOMY)
    prepare(ANATOMY, overwrite=True)
    assert anatomy(dataset).is_file()
    prepare(overwrite=True)
    assert not list((dataset / "anatomyTr").iterdir())


def test_a_failure_while_the_anatomy_is_written_leaves_nothing_of_the_case(prepare, monkeypatch) -> None:
    def full_disk(written: sitk.Image, path: str, **options: Any) -> None:
        if Path(path).parent.name == "anatomyTr" and CASE in path:
            Path(path).write_bytes(b"half")
            raise RuntimeError("No space left on device")
        original(written, path, **options)

    original = sitk.WriteImage
    monkeypatch.setattr(prepare_case_module.sitk, "WriteImage", full_disk)
    dataset, summary = prepare(ANATOMY)
    assert list(summary.failed) == [CASE]
    assert not list(dataset.glob(f"*Tr/*{CASE}*"))
    monkeypatch.undo()
    _, summary = prepare(ANATOMY)
    assert summary.prepared == [CASE]
    assert anatomy(dataset).is_file()


def test_a_case_without_zone_mask_fails_alone(prepare, builder) -> None:
    builder.label_file(f"{ZONES}/HeviAI23", CASE).unlink()
    dataset, summary = prepare(ANATOMY)
    assert "has no zone mask" in str(summary.failed[CASE])
    assert summary.prepared == sorted(CASES[1:])
    assert not list(dataset.glob(f"*Tr/{CASE}*"))


def test_the_commands_prepare_and_check_it(builder, tmp_path: Path, capsys) -> None:
    folders = ["--images", str(builder.images), "--labels", str(builder.labels), "--raw", str(tmp_path)]
    assert main(["picai", "prepare", *folders, "-d", "2203", "--classes", "anatomy", "--jobs", "1"]) == 0
    dataset = tmp_path / "Dataset2203_PICAI"
    assert main(["picai", "check", str(dataset), "--jobs", "1"]) == 0
    anatomy(dataset).unlink()
    capsys.readouterr()
    assert main(["picai", "check", str(dataset), "--jobs", "1"]) == 1
    assert f"error: The anatomy of the case is missing.\n  where: {anatomy(dataset)}" in capsys.readouterr().out
