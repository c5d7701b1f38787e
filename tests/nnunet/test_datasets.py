"""An id is a whole number, a name a whole name, and every command asks the same look-up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nnunetv2_textguided.cli import main
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.nnunet.datasets import dataset_name, known_datasets
from nnunetv2_textguided.nnunet.folders import PREPROCESSED, RAW, RESULTS, VARIABLES

Output = pytest.CaptureFixture[str]

DESCRIPTION = {
    "channel_names": {"0": "T2W"},
    "labels": {"background": 0, "csPCa": 1},
    "numTraining": 1,
    "file_ending": ".nii.gz",
}


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in VARIABLES:
        (tmp_path / variable).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / variable))
    return tmp_path


def add(folders: Path, name: str, *variables: str) -> None:
    for variable in variables or (RAW, PREPROCESSED):
        (folders / variable / name).mkdir()
        (folders / variable / name / "dataset.json").write_text(json.dumps(DESCRIPTION))


COMMANDS = [
    ["encode", "-d", "{}", "--encoder", "minilm"],
    ["prompts", "show", "{}"],
    ["prompts", "validate", "{}"],
    ["prompts", "compare", "{}", "2203"],
    ["plan", "-d", "{}"],
    ["anatomy", "-d", "{}"],
    ["predict", "-i", "images", "-o", "predicted", "-d", "{}"],
    ["convert-weights", "x.pth", "-d", "{}", "-c", "3d_fullres", "-p", "nnUNetPlans", "-o", "out.pth"],
    ["benchmark", "run", "-d", "{}", "--trainers", "nnUNetTrainerAlignRefine", "--device", "cpu", "--dry-run"],
    ["benchmark", "report", "-d", "{}"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: " ".join(words[:2]))
@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("220", "There is no data set 220."),
        ("3", "There is no data set 3."),
        ("Other", "There is no data set 'Other'."),
        ("Dataset2203_Othe", "There is no data set 'Dataset2203_Othe'."),
        ("2.20", "There is no data set '2.20'."),
        ("²", "There is no data set '²'."),
    ],
)
def test_no_command_takes_another_data_set(
    folders: Path, command: list[str], asked: str, message: str, capsys: Output
) -> None:
    add(folders, "Dataset2203_Other")
    before = sorted(folders.rglob("*"))
    assert main([word.format(asked) for word in command]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"error: {message}\n")
    assert asked in told.split("where:")[1].splitlines()[0]
    assert "Dataset2203_Other" in told.split("what to do:")[1]
    assert sorted(folders.rglob("*")) == before


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: " ".join(words[:2]))
def test_a_variable_that_is_not_set_is_named_before_the_data_set(
    command: list[str], capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    assert main([word.format("220") for word in command]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: The environment variable nnUNet_")
    assert "is not set" in told.splitlines()[0]
    assert "data set 220" not in told


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: " ".join(words[:2]))
def test_folders_that_are_not_there_are_named_before_the_data_set(
    command: list[str], capsys: Output, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for variable in VARIABLES:
        monkeypatch.setenv(variable, str(tmp_path / "unmounted"))
    assert main([word.format("220") for word in command]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: nnU-Net's folders do not exist.")
    assert f"{RESULTS}={tmp_path / 'unmounted'}" in told


def test_id_and_full_name_mean_the_same(folders: Path) -> None:
    for name in ("Dataset022_A", "Dataset220_Ours", "Dataset2200_B", "Dataset2203_Other"):
        add(folders, name)
    assert dataset_name("220") == dataset_name(220) == dataset_name("Dataset220_Ours") == "Dataset220_Ours"
    assert dataset_name("22") == dataset_name("022") == "Dataset022_A"
    assert dataset_name("2200") == "Dataset2200_B"


def test_what_only_has_results_is_known_too(folders: Path) -> None:
    add(folders, "Dataset501_Tiny", RESULTS)
    (folders / RESULTS / "nnUNet").mkdir()
    (folders / RESULTS / "Dataset777_file").touch()
    assert known_datasets() == ["Dataset501_Tiny"]
    assert dataset_name(501) == "Dataset501_Tiny"


def test_two_data_sets_of_one_id_are_both_named(folders: Path) -> None:
    add(folders, "Dataset220_A", RAW)
    add(folders, "Dataset220_B", PREPROCESSED)
    with pytest.raises(DataError, match="Several data sets have the id 220: Dataset220_A, Dataset220_B"):
        dataset_name(220)
    assert dataset_name("Dataset220_B") == "Dataset220_B"


def test_a_name_without_its_prefix_is_completed_in_the_remedy(folders: Path) -> None:
    add(folders, "Dataset501_Tiny")
    with pytest.raises(DataError) as caught:
        dataset_name("tiny")
    assert caught.value.remedy == "Give the id or the full name: 501 or Dataset501_Tiny."


def test_folders_that_are_set_but_missing_hold_no_data_set(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RAW, str(folders / "elsewhere"))
    with pytest.raises(DataError, match="There is no data set 501") as caught:
        dataset_name(501)
    assert f"{RAW}={folders / 'elsewhere'}" in str(caught.value.where)
    assert caught.value.remedy is not None
    assert "hold no data set" in caught.value.remedy
