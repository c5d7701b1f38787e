"""The archive's index: which files make a study, and what is said about those that do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.picai.archive import scan_archive


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_studies_are_found_at_any_depth_with_channels_in_order(tmp_path: Path) -> None:
    touch(tmp_path, *(f"fold0/10001/10001_1000001_{m}.mha" for m in ("hbv", "t2w", "adc", "sag")))
    touch(tmp_path, *(f"10002/10002_1000002_{m}.mha" for m in ("t2w", "adc", "hbv")))
    archive = scan_archive(tmp_path)
    assert list(archive.studies) == ["10001_1000001", "10002_1000002"]
    names = [p.name for p in archive.studies["10001_1000001"].channels()]
    assert names == [f"10001_1000001_{m}.mha" for m in ("t2w", "adc", "hbv")]
    assert not archive.problems


def test_a_missing_sequence_names_the_file_and_the_remedy(tmp_path: Path) -> None:
    touch(tmp_path, *(f"10001/10001_1000001_{m}.mha" for m in ("t2w", "hbv")))
    with pytest.raises(DataError, match="Missing ADC") as caught:
        scan_archive(tmp_path).studies["10001_1000001"].channels()
    assert "10001_1000001_adc.mha" in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("10001/prostate_t2w.mha", "not <patient>_<study>_<modality>.mha"),
        ("10002/10001_1000001_t2w.mha", "lies in the folder of patient 10002"),
    ],
)
def test_a_wrong_case_id_is_a_problem_of_its_own(tmp_path: Path, name: str, message: str) -> None:
    touch(tmp_path, name, "10003/10003_1000003_t2w.mha")
    archive = scan_archive(tmp_path)
    assert list(archive.studies) == ["10003_1000003"]
    assert message in str(archive.problems[Path(name).name])


def test_a_file_that_exists_twice_is_reported(tmp_path: Path) -> None:
    touch(tmp_path, "a/10001/10001_1000001_t2w.mha", "b/10001/10001_1000001_t2w.mha")
    assert "exists twice" in str(scan_archive(tmp_path).problems["10001_1000001_t2w.mha"])


def test_an_empty_or_absent_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no \.mha file"):
        scan_archive(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        scan_archive(tmp_path / "absent")


@pytest.mark.parametrize(
    "hidden", ["10001/._10001_1000001_t2w.mha", "__MACOSX/10001/._10001_1000001_t2w.mha",
               ".snapshot/10001/10001_1000001_t2w.mha", "10001/.old/copy/10001_1000001_t2w.mha"]
)  # fmt: skip
def test_hidden_files_and_what_lies_in_hidden_folders_are_no_images(tmp_path: Path, hidden: str) -> None:
    touch(tmp_path, "10001/10001_1000001_t2w.mha", hidden)
    assert not scan_archive(tmp_path).problems
