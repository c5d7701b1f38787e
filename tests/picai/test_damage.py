"""Damaged inputs: a clear message with file and remedy, the other cases proceed, the exit status says so."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_textguided.cli import main
from nnunetv2_textguided.processes.pool import run_jobs

from .archive_builder import CASES, EXPERT, Builder, image, write

CASE = CASES[0]


def truncate(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])


def truncated_image(builder: Builder) -> Path:
    path = builder.image_file(CASE, "hbv")
    truncate(path)
    return path


def nan_voxels(builder: Builder) -> Path:
    path = builder.image_file(CASE, "adc")
    values = sitk.GetArrayFromImage(sitk.ReadImage(str(path))).astype(np.float32)
    values[2, 3, 4:6] = np.nan
    write(image(values, "dwi"), path)
    return path


def constant_channel(builder: Builder) -> Path:
    path = builder.image_file(CASE, "hbv")
    write(image(np.zeros((8, 12, 12), dtype=np.uint16), "dwi"), path)
    return path


def missing_adc(builder: Builder) -> Path:
    path = builder.image_file(CASE, "adc")
    path.unlink()
    return path


def swapped_geometry(builder: Builder) -> Path:
    path = builder.image_file(CASE, "adc")
    adc = sitk.ReadImage(str(path))
    adc.SetSpacing((0.5, 0.5, 3.0))  # T2W's header on the ADC's voxels
    adc.SetOrigin((0.0, 0.0, 0.0))
    write(adc, path)
    return path


def sagittal_t2w(builder: Builder) -> Path:
    path = builder.image_file(CASE, "t2w")
    t2w = sitk.ReadImage(str(path))
    t2w.SetDirection((0, 0, 1, 1, 0, 0, 0, 1, 0))
    write(t2w, path)
    return path


def four_dimensional(builder: Builder) -> Path:
    path = builder.image_file(CASE, "hbv")
    volume = sitk.ReadImage(str(path))
    write(sitk.JoinSeries([volume, volume]), path)
    return path


def truncated_label(builder: Builder) -> Path:
    path = builder.label_file(EXPERT, CASE)
    truncate(path)
    return path


def impossible_label_value(builder: Builder) -> Path:
    path = builder.label_file(EXPERT, CASE)
    values = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    values[values > 0] = 7
    write(image(values), path)
    return path


def label_elsewhere(builder: Builder) -> Path:
    path = builder.label_file(EXPERT, CASE)
    label = sitk.ReadImage(str(path))
    label.SetOrigin((500.0, 500.0, 0.0))  # nothing of it meets the T2W grid
    write(label, path)
    return path


DAMAGE: list[tuple[Callable[[Builder], Path], str]] = [
    (truncated_image, "truncated or damaged"),
    (nan_voxels, "2 voxels are NaN or infinite"),
    (constant_channel, "All voxels have the same value (0)"),
    (missing_adc, "Missing ADC"),
    (swapped_geometry, "does not fit the T2W series"),
    (sagittal_t2w, "not axial"),
    (four_dimensional, "not one 3D volume but 4D"),
    (truncated_label, "truncated or damaged"),
    (impossible_label_value, "has the values [7]; allowed are [0, 2, 3, 4, 5]"),
    (label_elsewhere, "1 lesions before resampling the mask onto the T2W grid and 0 after"),
]


def prepare_by_command(builder: Builder, raw: Path) -> int:
    folders = ["--images", str(builder.images), "--labels", str(builder.labels), "--raw", str(raw)]
    return main(["picai", "prepare", *folders, "-d", "2203", "--jobs", "1"])


@pytest.mark.parametrize(("damage", "message"), DAMAGE, ids=lambda value: getattr(value, "__name__", ""))
def test_damage_is_named_and_the_other_cases_proceed(builder, tmp_path, capsys, damage, message) -> None:
    path = damage(builder)
    assert prepare_by_command(builder, tmp_path / "raw") == 1
    out, err = capsys.readouterr()
    assert f"FAILED {CASE}: " in err
    assert message in err
    assert path.name in err
    assert "what to do: " in err
    assert "3 prepared; 1 failed" in out
    written = {p.name.split(".")[0] for p in (tmp_path / "raw/Dataset2203_PICAI/labelsTr").iterdir()}
    assert written == set(CASES[1:])


def test_a_wrong_case_id_fails_alone(builder, tmp_path, capsys) -> None:
    for modality in ("t2w", "adc", "hbv"):
        path = builder.image_file(CASE, modality)
        path.rename(path.with_name(f"10000_9999999_{modality}.mha"))
    assert prepare_by_command(builder, tmp_path / "raw") == 1
    out, err = capsys.readouterr()
    assert "The marksheet has no study 10000_9999999" in err
    assert "what to do: " in err
    assert "3 prepared; 1 failed" in out


def test_nothing_prepared_is_no_success(builder, tmp_path, capsys) -> None:
    builder.study(CASES[0], cspca=True)
    builder.marksheet(dict.fromkeys(CASES, True))
    for case in CASES:
        builder.study(case, cspca=False)  # every mask contradicts the marksheet: a rule leaves it out
    assert prepare_by_command(builder, tmp_path / "raw") == 1
    assert "no case could be prepared" in capsys.readouterr().out
    assert not (tmp_path / "raw/Dataset2203_PICAI/dataset.json").exists()


def test_mending_the_damage_prepares_only_that_case(builder, tmp_path, capsys) -> None:
    good = builder.image_file(CASE, "hbv").read_bytes()
    path = truncated_image(builder)
    prepare_by_command(builder, tmp_path / "raw")
    path.write_bytes(good)
    capsys.readouterr()
    assert prepare_by_command(builder, tmp_path / "raw") == 0
    assert "1 prepared; 3 up to date; 0 failed" in capsys.readouterr().out


def test_a_case_that_gets_damaged_later_loses_its_old_files(builder, tmp_path, capsys) -> None:
    prepare_by_command(builder, tmp_path / "raw")
    truncated_image(builder)
    assert prepare_by_command(builder, tmp_path / "raw") == 1
    assert not list((tmp_path / "raw/Dataset2203_PICAI").glob(f"*/{CASE}*"))


def test_itk_alone_would_read_a_truncated_label_as_an_empty_one(builder) -> None:
    # Why images.py checks the gzip stream itself. If this fails, ITK has learned to complain, and the check may go.
    path = builder.label_file(EXPERT, CASE)
    random = np.random.default_rng(0).integers(0, 2, (64, 64, 64)).astype(np.uint8)
    write(sitk.GetImageFromArray(random), path)
    truncate(path)
    assert not sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[-1].any()
    with pytest.raises(EOFError), gzip.open(path) as stream:
        stream.read()


def test_a_worker_that_dies_takes_no_other_case_along() -> None:
    results = {o.job: o for o in run_jobs(_die_at_two, [1, 2, 3], workers=2)}
    assert results[1].value == 1
    assert results[3].value == 3
    assert "worker process died" in str(results[2].error)
    assert "--jobs" in str(results[2].error)


def test_an_unexpected_exception_becomes_an_error_of_that_case() -> None:
    results = {o.job: o for o in run_jobs(_divide, [0, 2], workers=1)}
    assert results[2].value == 0.5
    assert "Unexpected ZeroDivisionError" in str(results[0].error)


def _die_at_two(job: int) -> int:
    import os

    if job == 2:
        os._exit(9)
    return job


def _divide(job: int) -> float:
    return 1 / job
