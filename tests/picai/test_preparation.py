"""Preparing synthetic studies: what is written, options, resuming, contradictions."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from filelock import FileLock
from pydantic import ValidationError

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.picai.options import GEOMETRY, PrepareOptions
from nnunetv2_textguided.picai.preparation import dataset_folder
from tests.conftest import REPOSITORY

from .archive_builder import BOSMA, CASES, EXPERT, GLAND, POOCH, ZONES, block, image, write


def read(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def table(dataset: Path) -> dict[str, dict[str, str]]:
    with (dataset / "cases.csv").open(newline="") as handle:
        return {row["case"]: row for row in csv.DictReader(handle)}


def test_the_data_set_is_nnunets_with_channels_on_one_grid_and_a_binary_label(prepare, builder) -> None:
    dataset, summary = prepare()
    assert summary.prepared == sorted(CASES)
    assert not summary.failed
    description = json.loads((dataset / "dataset.json").read_text())
    assert description["channel_names"] == {"0": "T2W", "1": "CT", "2": "HBV"}
    assert description["labels"] == {"background": 0, "csPCa": 1}
    assert description["numTraining"] == 4
    images = [sitk.ReadImage(str(dataset / f"imagesTr/{CASES[0]}_{i:04d}.nii.gz")) for i in range(3)]
    label = sitk.ReadImage(str(dataset / f"labelsTr/{CASES[0]}.nii.gz"))
    assert len({(i.GetSize(), i.GetSpacing(), i.GetOrigin(), i.GetDirection()) for i in [*images, label]}) == 1
    t2w = read(builder.image_file(CASES[0], "t2w"))
    assert np.array_equal(sitk.GetArrayFromImage(images[0]), t2w), "the T2W voxels are untouched"
    expert = read(builder.label_file(EXPERT, CASES[0]))
    assert set(np.unique(expert)) == {0, 3}
    assert np.array_equal(sitk.GetArrayFromImage(label), expert > 0), "ISUP 3 becomes 1, in place"


def test_cases_csv_and_folds_describe_what_was_written(prepare) -> None:
    dataset, _ = prepare()
    row = table(dataset)[CASES[0]]
    assert (row["patient"], row["study"], row["centre"], row["csPCa"], row["ISUP"]) == (
        "10000", "1000000", "RUMC", "YES", "3",
    )  # fmt: skip
    assert (row["PI_RADS"], row["PSA"], row["label_source"], row["lesions"]) == ("4", "8.5", "human_expert", "1")
    assert float(row["lesion_ml"]) == pytest.approx(2 * 5 * 5 * 0.75 / 1000, abs=5e-5)
    assert float(row["gland_ml"]) == pytest.approx(6 * 24 * 24 * 0.75 / 1000, abs=5e-4)
    splits = json.loads((dataset / "splits_final.json").read_text())
    assert [len(fold["train"]) + len(fold["val"]) for fold in splits] == [4] * 5
    assert CASES[0] in splits[int(row["fold"])]["val"]
    licence = (dataset / "LICENCE.md").read_text()
    assert "CC BY-NC 4.0" in licence
    assert "Pooch" not in licence, "only what was used is cited"


def test_the_adc_channels_name_chooses_nnunets_normalisation() -> None:
    from nnunetv2.preprocessing.normalization.map_channel_name_to_normalization import get_normalization_scheme

    for adc, expected in (("global", "CTNormalization"), ("zscore", "ZScoreNormalization")):
        channel = PrepareOptions(adc=adc).channel_names["1"]
        assert get_normalization_scheme(channel).__name__ == expected


def test_pooch25_fills_in_and_ai_masks_only_on_request(prepare, builder) -> None:
    for case, folder in ((CASES[0], POOCH), (CASES[2], BOSMA)):
        builder.label_file(EXPERT, case).unlink()
        write(image(block(1, slice(3, 5), slice(22, 27), slice(14, 19))), builder.label_file(folder, case))
    dataset, summary = prepare()
    assert "no human lesion mask" in summary.skipped[CASES[2]]
    assert table(dataset)[CASES[0]]["label_source"] == "Pooch25"
    assert "Pooch EHP" in (dataset / "LICENCE.md").read_text()
    assert CASES[2] not in table(dataset)
    dataset, summary = prepare(PrepareOptions(ai_labels=True), overwrite=True)
    assert table(dataset)[CASES[2]]["label_source"] == "Bosma22a (AI)"


def test_zones_are_classes_of_their_own_with_the_lesion_on_top(prepare, builder) -> None:
    other_grid = sitk.Resample(
        sitk.ReadImage(str(builder.label_file(f"{ZONES}/HeviAI23", CASES[0]))), (40, 40, 6), sitk.Transform(),
        sitk.sitkNearestNeighbor, (0.0, 0.0, 3.0), (0.5, 0.5, 3.0),
    )  # fmt: skip
    write(other_grid, builder.label_file(f"{ZONES}/HeviAI23", CASES[0]))
    dataset, summary = prepare(PrepareOptions(classes="zones"))
    values = read(dataset / f"labelsTr/{CASES[0]}.nii.gz")
    expert = read(builder.label_file(EXPERT, CASES[0])) > 0
    assert np.array_equal(values == 3, expert)
    assert np.count_nonzero(values == 2) == 6 * 12 * 24
    assert np.count_nonzero(values == 1) == 6 * 12 * 24 - expert.sum()
    assert "zone mask resampled, on another grid (40x40x6 instead of 40x40x8)" in summary.remarks[CASES[0]]
    assert json.loads((dataset / "dataset.json").read_text())["labels"]["csPCa"] == 3


def test_automatic_zones_take_the_source_that_agrees_with_the_gland(prepare, builder) -> None:
    write(image(block(1, slice(1, 3), slice(8, 32), slice(8, 32))), builder.label_file(f"{ZONES}/HeviAI23", CASES[0]))
    dataset, _ = prepare(PrepareOptions(classes="zones", zone_source="auto"))
    assert table(dataset)[CASES[0]]["zone_source"] == "Yuan23"
    assert table(dataset)[CASES[1]]["zone_source"] == "HeviAI23", "the first where both agree equally"


def test_spacing_and_crop_are_the_unet_baselines(prepare) -> None:
    dataset, _ = prepare(PrepareOptions(spacing=(3.0, 1.0, 1.0), matrix_size=(6, 16, 24)))
    label = sitk.ReadImage(str(dataset / f"labelsTr/{CASES[0]}.nii.gz"))
    assert label.GetSize() == (24, 16, 6)
    assert label.GetSpacing() == pytest.approx((1.0, 1.0, 3.0))
    assert sitk.GetArrayFromImage(label).any()


def test_the_geometry_named_after_the_unet_baseline_is_its_own(prepare) -> None:
    dataset, _ = prepare(PrepareOptions(**GEOMETRY["unet-baseline"]))
    label = sitk.ReadImage(str(dataset / f"labelsTr/{CASES[0]}.nii.gz"))
    assert label.GetSize() == (256, 256, 20)
    assert label.GetSpacing() == pytest.approx((0.5, 0.5, 3.0))


def test_a_gland_centred_crop_keeps_a_gland_that_an_image_centred_crop_loses(prepare, builder) -> None:
    corner = block(1, slice(1, 7), slice(0, 12), slice(0, 12))
    write(image(corner), builder.label_file(GLAND, CASES[0]))
    write(image(block(3, slice(3, 5), slice(2, 6), slice(2, 6))), builder.label_file(EXPERT, CASES[0]))
    size = (8, 14, 14)
    _, summary = prepare(PrepareOptions(matrix_size=size))
    assert "1 lesions before resampling and cropping and 0 after" in str(summary.failed[CASES[0]])
    assert len(summary.prepared) == 3
    dataset, summary = prepare(PrepareOptions(matrix_size=size, crop_centre="gland"), overwrite=True)
    assert not summary.failed
    assert read(dataset / f"labelsTr/{CASES[0]}.nii.gz").sum() == 2 * 4 * 4
    t2w = read(builder.image_file(CASES[0], "t2w"))
    cropped = read(dataset / f"imagesTr/{CASES[0]}_0000.nii.gz")
    assert np.array_equal(cropped[:, 1:13, 1:13], t2w[:, :12, :12]), "real voxels inside, zeros where the image ends"


def test_options_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValidationError, match="needs a matrix_size"):
        PrepareOptions(crop_centre="gland")
    with pytest.raises(ValidationError):
        PrepareOptions(spacing=(3.0, 0.0, 0.5))


@pytest.mark.parametrize(("rule", "kept"), [("exclude", []), ("mask", [0, 1]), ("marksheet", [1])])
def test_contradictions_follow_the_chosen_rule(prepare, builder, rule: str, kept: list[int]) -> None:
    builder.study(CASES[0], cspca=False)  # the marksheet says csPCa
    builder.study(CASES[1], cspca=True)  # the marksheet says no csPCa
    dataset, summary = prepare(PrepareOptions(contradictions=rule))
    assert [i for i in (0, 1) if CASES[i] in summary.prepared] == kept
    assert not summary.failed, "a rule is no failure"
    if rule == "exclude":
        assert "the marksheet says csPCa, the mask is empty" in summary.skipped[CASES[0]]
        assert "the marksheet says no csPCa, the mask has a lesion" in summary.skipped[CASES[1]]
    if 1 in kept:
        assert read(dataset / f"labelsTr/{CASES[1]}.nii.gz").any() == (rule == "mask")
        assert "no csPCa, the mask has a lesion" in table(dataset)[CASES[1]]["remarks"]


def test_several_processes_write_what_one_writes(prepare) -> None:
    def content(dataset: Path) -> dict[str, bytes]:
        files = [*dataset.glob("imagesTr/*"), *dataset.glob("labelsTr/*"), dataset / "cases.csv"]
        return {path.name: path.read_bytes() for path in files}

    alone = content(prepare()[0])
    dataset, summary = prepare(overwrite=True, workers=3)
    assert summary.prepared == sorted(CASES)
    assert content(dataset) == alone


def test_a_second_run_does_only_what_is_missing(prepare, builder) -> None:
    dataset, _ = prepare()
    label = dataset / f"labelsTr/{CASES[1]}.nii.gz"
    label.unlink()
    builder.study(CASES[2], cspca=True, seed=99)  # its images changed
    before = {p: p.stat().st_mtime_ns for p in (dataset / "imagesTr").iterdir()}
    _, summary = prepare()
    assert summary.prepared == [CASES[1], CASES[2]]
    assert summary.up_to_date == [CASES[0], CASES[3]]
    touched = {p.name[:13] for p, time in before.items() if p.stat().st_mtime_ns != time}
    assert touched == {CASES[1], CASES[2]}
    assert label.is_file()


def test_an_interrupted_run_leaves_no_data_set_and_is_taken_up_again(prepare, monkeypatch) -> None:
    from nnunetv2_textguided.picai import preparation

    def interrupted(job):
        if job.case == CASES[2]:
            (job.dataset / "imagesTr" / f".{job.case}_0000.nii.gz.x.partial.nii.gz").touch()
            raise KeyboardInterrupt
        return original(job)

    original = preparation.prepare_case
    monkeypatch.setattr(preparation, "prepare_case", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare()
    monkeypatch.undo()
    dataset, summary = prepare()
    assert summary.up_to_date == list(CASES[:2])
    assert summary.prepared == list(CASES[2:])
    assert not list(dataset.glob("imagesTr/.*")), "what the interruption left is removed"
    assert json.loads((dataset / "dataset.json").read_text())["numTraining"] == 4


def test_a_run_that_is_killed_is_taken_up_again(prepare, builder, tmp_path: Path) -> None:
    cases = [f"{10000 + i}_{1000000 + i}" for i in range(12)]
    for case in cases[4:]:
        builder.study(case, cspca=False)
    builder.marksheet({case: case in (CASES[0], CASES[2]) for case in cases})
    folders = ["--images", builder.images, "--labels", builder.labels, "--raw", tmp_path / "raw"]
    command = [sys.executable, "-m", "nnunetv2_textguided.cli", "picai", "prepare", *map(str, folders), "-d", "2203"]
    records = tmp_path / "raw" / "Dataset2203_PICAI" / "picai_cases"
    with (tmp_path / "log").open("wb") as log:
        run = subprocess.Popen([*command, "--jobs", "1"], stdout=log, stderr=log, cwd=REPOSITORY)
        deadline = time.monotonic() + 120
        while not list(records.glob("[!.]*.json")):
            assert run.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        run.kill()
        run.wait()
    finished = {path.stem for path in records.glob("[!.]*.json")}
    assert 1 <= len(finished) < 12
    _, summary = prepare()
    assert set(summary.up_to_date) == finished
    assert set(summary.prepared) == set(cases) - finished
    assert not summary.failed


def test_a_data_set_is_not_mixed_from_two_sets_of_options(prepare) -> None:
    prepare()
    with pytest.raises(DataError, match=r"adc: global -> zscore"):
        prepare(PrepareOptions(adc="zscore"))
    _, summary = prepare(PrepareOptions(adc="zscore"), overwrite=True)
    assert len(summary.prepared) == 4


def test_cases_of_an_earlier_run_stay_when_the_archive_is_prepared_in_parts(prepare, builder) -> None:
    prepare()
    for modality in ("t2w", "adc", "hbv"):
        builder.image_file(CASES[0], modality).unlink()
    dataset, summary = prepare()
    assert summary.kept == [CASES[0]]
    assert json.loads((dataset / "dataset.json").read_text())["numTraining"] == 4
    assert CASES[0] in table(dataset)


def test_cases_that_the_marksheet_no_longer_has_are_left_out_with_a_warning(prepare, builder) -> None:
    prepare()
    builder.marksheet({CASES[0]: True, CASES[1]: False, CASES[2]: True})
    dataset, summary = prepare()
    assert "1 cases of an earlier run are not in this marksheet" in summary.warnings[0]
    assert f"The marksheet has no study {CASES[3]}" in str(summary.failed[CASES[3]])
    assert json.loads((dataset / "dataset.json").read_text())["numTraining"] == 3
    assert CASES[3] not in table(dataset)


def test_two_runs_at_once_do_not_interleave(prepare, tmp_path: Path) -> None:
    dataset = tmp_path / "raw" / "Dataset2203_PICAI"
    dataset.mkdir(parents=True)
    with FileLock(dataset / ".prepare.lock"), pytest.raises(DataError, match=r"Another `picai prepare`"):
        prepare()


def test_the_folds_that_training_reads_follow_unless_somebody_changed_them(prepare, nnunet_folders, builder) -> None:
    _, _ = prepare()
    copy = nnunet_folders / "preprocessed" / "Dataset2203_PICAI" / "splits_final.json"
    copy.parent.mkdir()
    raw = nnunet_folders / "raw" / "Dataset2203_PICAI" / "splits_final.json"
    copy.write_text(raw.read_text())
    study = "10004_1000004"
    builder.study(study, cspca=False)
    builder.marksheet({**{case: i % 2 == 0 for i, case in enumerate(CASES)}, study: False})
    _, summary = prepare()
    assert summary.prepared == [study]
    assert not summary.warnings
    assert json.loads(copy.read_text()) == json.loads(raw.read_text())
    copy.write_text("[]")
    _, summary = prepare()
    assert "was left alone" in summary.warnings[0]
    assert copy.read_text() == "[]"


def test_a_number_that_another_data_set_has_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Dataset2203_OTHER").mkdir()
    with pytest.raises(DataError, match="taken by another data set"):
        dataset_folder(tmp_path, 2203, "PICAI")
    assert dataset_folder(tmp_path, 7, "PICAI").name == "Dataset007_PICAI"
