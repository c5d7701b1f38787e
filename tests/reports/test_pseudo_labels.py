"""The command on a tiny model: labels that agree with the reports, folds, resumption, and what is refused."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nnunetv2_textguided.cli import main
from nnunetv2_textguided.files import shipped
from nnunetv2_textguided.nnunet.labels import trainable_labels
from nnunetv2_textguided.reports.dataset import Annotated
from tests.datasets import Workspace
from tests.inference.models import SPACING, Model, ball, dataset_json, make_model, scene, write_case

STOCK = """
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer


class nnUNetTrainerShort(nnUNetTrainer):
    def __init__(self, plans, configuration, fold, dataset_json, device):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = self.num_val_iterations_per_epoch = 1
        self.num_iterations_per_epoch = 2
"""
"""nnU-Net's own trainer, shortened."""
SHAPE = (9, 32, 36)
PLACES = {"right": (4, 16, 9), "left": (4, 16, 27)}  # the patient's left is at larger x


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    torch.set_num_threads(1)
    return make_model(tmp_path_factory.mktemp("model") / "model", steps=50)


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """nnU-Net's folders with Dataset902_Tiny: three outlined cases, and images of five further ones."""
    monkeypatch.setenv("nnUNet_extTrainer", str(shipped("trainers")))
    for name in ("raw", "preprocessed", "results"):
        (tmp_path / name / "Dataset902_Tiny").mkdir(parents=True)
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))
    raw, random = tmp_path / "raw" / "Dataset902_Tiny", np.random.default_rng(3)
    (raw / "labelsTr").mkdir()
    for case in ("10001_1000001", "10002_1000002", "10003_1000003"):
        image, mask = scene(random, SHAPE)
        (first, *_) = write_case(raw / "imagesTr", case, image)
        label = sitk.GetImageFromArray(mask.astype(np.uint8))
        label.CopyInformation(sitk.ReadImage(str(first)))
        sitk.WriteImage(label, str(raw / "labelsTr" / f"{case}.nii.gz"))
    (raw / "dataset.json").write_text(json.dumps(dataset_json({"csPCa": 1})))
    folds = [{"train": ["10001_1000001", "10002_1000002"], "val": ["10003_1000003"]},
             {"train": ["10002_1000002", "10003_1000003"], "val": ["10001_1000001"]}]  # fmt: skip
    (tmp_path / "preprocessed" / "Dataset902_Tiny" / "splits_final.json").write_text(json.dumps(folds))
    for name, sides in {"20001_2": ["right", "left"], "10003_2": ["right"], "none_1": [], "none_2": []}.items():
        write_case(tmp_path / "more", name, _image(random, sides))
    write_case(tmp_path / "more", "silent_1", _image(random, []))
    targets = {
        "20001_2": {"lesions": 1, "findings": [{"side": "left"}]},
        "10003_2": {"lesions": 1},
        "none_1": {"lesions": 0},
        "none_2": {"lesions": 9},
    }
    texts = {case: {"target": target} for case, target in targets.items()}
    (raw / "case_text.json").write_text(json.dumps(texts))
    for case in (*targets, "silent_1"):
        zones = sitk.GetImageFromArray(np.ones(SHAPE, dtype=np.uint8))
        zones.CopyInformation(sitk.ReadImage(str(tmp_path / "more" / f"{case}_0000.nii.gz")))
        (tmp_path / "zones").mkdir(exist_ok=True)
        sitk.WriteImage(zones, str(tmp_path / "zones" / f"{case}.nii.gz"))
    return tmp_path


def _image(random: np.random.Generator, sides: list[str]) -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    for side in sides:
        mask |= ball(SHAPE, PLACES[side], 5.0, SPACING)
    return random.normal(0, 0.2, (3, *SHAPE)) + (np.arange(SHAPE[2]) > SHAPE[2] / 2) + 2.5 * mask


@pytest.fixture
def text_only(folders: Path) -> Path:
    """The same further cases in the data set itself: label maps of the ignore label, zones in anatomyTr."""
    raw = folders / "raw" / "Dataset902_Tiny"
    shutil.copytree(folders / "more", raw / "imagesTr", dirs_exist_ok=True)
    shutil.copytree(folders / "zones", raw / "anatomyTr")
    for path in sorted((raw / "imagesTr").glob("*_0000.nii.gz")):
        name, like = path.name.replace("_0000", ""), sitk.ReadImage(str(path))
        new = [folder for folder in ("labelsTr", "anatomyTr") if not (raw / folder / name).exists()]
        for folder in new:
            ignored = sitk.GetImageFromArray(np.full(SHAPE, 2 if folder == "labelsTr" else 1, dtype=np.uint8))
            ignored.CopyInformation(like)
            sitk.WriteImage(ignored, str(raw / folder / name))
    zones = {"peripheral zone": 1, "transition zone": 2}
    description = {**dataset_json({"csPCa": 1, "ignore": 2}), "anatomy": zones}
    (raw / "dataset.json").write_text(json.dumps(description))
    path = folders / "preprocessed" / "Dataset902_Tiny" / "splits_final.json"
    splits = json.loads(path.read_text())
    for fold in splits:
        fold["train"].append("20001_2")
    path.write_text(json.dumps(splits))
    return raw


@pytest.fixture
def run(folders: Path, model: Model) -> Callable[..., int]:
    def command(*more: str, name: str = "Dataset903_Reports", trained: Path = model.folder) -> int:
        words = ["pseudo-label", "-d", "902", "-m", str(trained), "-i", str(folders / "more"), "-o", name]
        return main([*words, "-device", "cpu", "-npp", "0", "-nps", "0", "--disable_tta", "-f", "0", *more])

    return command


def _rows(folders: Path) -> dict[str, dict[str, str]]:
    with (folders / "raw" / "Dataset903_Reports" / "cases.csv").open() as stream:
        return {row["case"]: row for row in csv.DictReader(stream)}


def test_labels_agree_with_the_reports(run: Callable[..., int], folders: Path) -> None:
    assert run("--zones", str(folders / "zones")) == 0
    made, rows = folders / "raw" / "Dataset903_Reports", _rows(folders)
    origins = {case: row["origin"] for case, row in rows.items()}
    assert origins == {
        **dict.fromkeys(["10001_1000001", "10002_1000002", "10003_1000003"], "annotated"),
        "20001_2": "report", "10003_2": "report", "none_1": "report without lesion",
        "none_2": "left out", "silent_1": "left out",
    }  # fmt: skip
    labels = {path.name.split(".")[0]: sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
              for path in (made / "labelsTr").iterdir()}  # fmt: skip
    assert labels.keys() == {case for case, origin in origins.items() if origin != "left out"}
    left = labels["20001_2"]
    assert left[PLACES["left"]] == 1
    assert not left[:, :, : SHAPE[2] // 2 - 2].any(), "the report's lesion is on the left"
    truth = ball(SHAPE, PLACES["right"], 5.0, SPACING)
    found = labels["10003_2"] == 1
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.5
    assert not labels["none_1"].any()
    assert "candidates for 9 reported lesions" in rows["none_2"]["reason"]
    images = {path.name for path in (made / "imagesTr").iterdir()}
    assert images == {f"{case}_{channel:04d}.nii.gz" for case in labels for channel in range(3)}
    description = json.loads((made / "dataset.json").read_text())
    assert (description["numTraining"], description["name"]) == (6, "Dataset903_Reports")


def test_outlines_alone_are_validated_and_no_patient_is_on_both_sides(run: Callable[..., int], folders: Path) -> None:
    assert run() == 0
    folds = json.loads((folders / "preprocessed" / "Dataset903_Reports" / "splits_final.json").read_text())
    assert [fold["val"] for fold in folds] == [["10003_1000003"], ["10001_1000001"]]
    assert folds[0]["train"] == ["10001_1000001", "10002_1000002", "20001_2", "none_1"], "10003 is validated"
    assert folds[1]["train"] == ["10002_1000002", "10003_1000003", "10003_2", "20001_2", "none_1"]


def test_outlines_stay_what_they_are(run: Callable[..., int], folders: Path) -> None:
    before = {path.name: path.read_bytes() for path in (folders / "raw" / "Dataset902_Tiny").rglob("*.nii.gz")}
    assert run() == 0
    made = folders / "raw" / "Dataset903_Reports"
    for folder in ("imagesTr", "labelsTr"):
        for path in (made / folder).iterdir():
            assert before.get(path.name, path.read_bytes()) == path.read_bytes()
    assert before == {p.name: p.read_bytes() for p in (folders / "raw" / "Dataset902_Tiny").rglob("*.nii.gz")}


def test_a_run_that_was_ended_goes_on(
    run: Callable[..., int], folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 0
    labels = {path.name: path.read_bytes() for path in (folders / "raw/Dataset903_Reports/labelsTr").iterdir()}
    (folders / "raw" / "Dataset903_Reports" / "dataset.json").unlink()
    (folders / "raw" / "Dataset903_Reports" / "pseudo_labels" / "20001_2.nii.gz").unlink()
    capsys.readouterr()
    assert run() == 0
    assert "1 cases to predict, 2 complete" in capsys.readouterr().out
    assert labels == {path.name: path.read_bytes() for path in (folders / "raw/Dataset903_Reports/labelsTr").iterdir()}


@pytest.mark.parametrize("kind", ["unknown case", "no report", "another folder", "no name", "bad target", "regions"])
def test_what_cannot_be_is_refused_before_anything_is_written(
    run: Callable[..., int], folders: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    raw, name = folders / "raw" / "Dataset902_Tiny", "Dataset903_Reports"
    text = json.loads((raw / "case_text.json").read_text())
    if kind == "unknown case":
        text["20009_9"] = {"target": {"lesions": 1}}
    elif kind == "no report":
        text = {}
    elif kind == "bad target":
        text["none_1"] = {"target": {"lesions": 0, "findings": [{}]}}
    elif kind == "another folder":
        shutil.copytree(raw, folders / "raw" / name)
    elif kind == "regions":
        description = {**dataset_json({"whole": [1, 2], "csPCa": 2}), "regions_class_order": [1, 2]}
        (raw / "dataset.json").write_text(json.dumps(description))
    (raw / "case_text.json").write_text(json.dumps(text))
    before = sorted(folders.rglob("*"))
    assert run(name="903" if kind == "no name" else name) == 1
    words = {"unknown case": "20009_9", "no report": "counts its lesions", "another folder": "something else",
             "no name": "no name of a data set", "bad target": "none_1", "regions": "regions"}  # fmt: skip
    assert words[kind] in capsys.readouterr().err
    assert sorted(folders.rglob("*")) == before


def test_a_data_set_labels_its_own_text_only_cases(
    text_only: Path, folders: Path, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["pseudo-label", "-d", "902", "-m", str(model.folder), "-o", "Dataset903_Reports", "-f", "0"]
    assert main([*words, "-device", "cpu", "-npp", "0", "-nps", "0", "--disable_tta"]) == 0
    assert capsys.readouterr().out.count("3 annotated; ") == 1
    origins = {case: row["origin"] for case, row in _rows(folders).items()}
    assert origins["20001_2"] == origins["10003_2"] == "report"
    assert (origins["none_1"], origins["none_2"], origins["silent_1"]) == ("report without lesion", *["left out"] * 2)
    made = folders / "raw" / "Dataset903_Reports"
    description = json.loads((made / "dataset.json").read_text())
    assert description["labels"] == {"background": 0, "csPCa": 1}, "nothing is ignored any more"
    assert trainable_labels(description).ignored is None
    values = {int(v) for path in (made / "labelsTr").iterdir() for v in np.unique(sitk.GetArrayFromImage(
        sitk.ReadImage(str(path))))}  # fmt: skip
    assert values == {0, 1}
    left = sitk.GetArrayFromImage(sitk.ReadImage(str(made / "labelsTr" / "20001_2.nii.gz")))
    assert left[PLACES["left"]] == 1, "the data set's own zones tell the side"
    assert not left[PLACES["right"]]
    assert {path.name for path in (made / "anatomyTr").iterdir()} == {p.name for p in (made / "labelsTr").iterdir()}
    folds = json.loads((folders / "preprocessed" / "Dataset903_Reports" / "splits_final.json").read_text())
    assert [fold["val"] for fold in folds] == [["10003_1000003"], ["10001_1000001"]]
    assert folds[0]["train"] == ["10001_1000001", "10002_1000002", "20001_2", "none_1"]


def test_voxels_that_an_outlined_case_ignores_stay_ignored(text_only: Path, folders: Path, model: Model) -> None:
    path = text_only / "labelsTr" / "10001_1000001.nii.gz"
    partly = sitk.ReadImage(str(path))
    partly[0, 0, 0] = 2
    sitk.WriteImage(partly, str(path))
    read = Annotated.read(text_only)
    assert read.cases == {"10001_1000001", "10002_1000002", "10003_1000003"}
    assert read.partly_ignored
    words = ["pseudo-label", "-d", "902", "-m", str(model.folder), "-o", "Dataset903_Reports", "-f", "0"]
    assert main([*words, "-device", "cpu", "-npp", "0", "-nps", "0", "--disable_tta"]) == 0
    description = json.loads((folders / "raw" / "Dataset903_Reports" / "dataset.json").read_text())
    assert description["labels"]["ignore"] == 2


def test_without_text_only_cases_the_images_have_to_be_named(
    folders: Path, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pseudo-label", "-d", "902", "-m", str(model.folder), "-o", "Dataset903_Reports"]) == 1
    assert "with -i" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("finding", "lesions", "what"),
    [
        ({"zone": "TZ", "side": "left"}, 1, "left transition zone"),
        ({"diameter_mm": 149}, 1, "149 mm"),
        ({}, 40, "40 lesions"),
    ],
)
def test_a_report_that_does_not_fit_the_zones_is_an_error(
    run: Callable[..., int], folders: Path, capsys: pytest.CaptureFixture[str], finding: dict, lesions: int, what: str
) -> None:
    path = folders / "raw" / "Dataset902_Tiny" / "case_text.json"
    texts = json.loads(path.read_text())
    texts["20001_2"]["target"] = {"lesions": lesions, "findings": [finding]}
    path.write_text(json.dumps(texts))
    assert run("--zones", str(folders / "zones")) == 1
    told = capsys.readouterr().err
    assert "20001_2" in told
    assert what in told
    assert not (folders / "raw" / "Dataset903_Reports").exists()
    assert run("--zones", str(folders / "zones"), "--words", "count") == 0


@pytest.mark.slow
@pytest.mark.timeout(5400)  # five commands: a minute on an idle machine
def test_nnunets_own_commands_train_before_and_after(text_only: Path, folders: Path, model: Model) -> None:
    workspace = Workspace(folders)
    on_cpu = ("-device", "cpu")
    short = {"epochs": 2, "iterations_per_epoch": 2, "val_iterations_per_epoch": 1}
    workspace.plan(902, "3d_fullres")
    workspace.edit_plans("3d_fullres", {"training": short})
    workspace.run("nnUNetv2_train", "902", "3d_fullres", "0", "-tr", "nnUNetTrainerAlignRefine", *on_cpu)
    (trained,) = (folders / "results" / "Dataset902_Tiny").glob("*/fold_0/validation/summary.json")
    assert _validated(trained) == ["10003_1000003"]

    words = ("-d", "902", "-m", str(model.folder), "-o", "Dataset903_Reports", "-f", "0")
    workspace.run("nnUNetv2_textguided", "pseudo-label", *words, *on_cpu, "-npp", "0", "-nps", "0", "--disable_tta")
    shutil.rmtree(folders / "preprocessed" / "Dataset902_Tiny")  # nothing of it is needed any more
    workspace.plan(903, "3d_fullres")
    workspace.edit_plans("3d_fullres", None)
    (folders / "trainers").mkdir()
    (folders / "trainers" / "stock.py").write_text(STOCK)
    stock = {**workspace.environment, "nnUNet_extTrainer": str(folders / "trainers")}
    words = ("903", "3d_fullres", "0", "-tr", "nnUNetTrainerShort", *on_cpu)
    workspace.run("nnUNetv2_train", *words, environment=stock)
    (trained,) = (folders / "results" / "Dataset903_Reports").glob("*/fold_0/validation/summary.json")
    assert _validated(trained) == ["10003_1000003"]


def _validated(summary: Path) -> list[str]:
    cases = json.loads(summary.read_text())["metric_per_case"]
    return [Path(case["prediction_file"]).name.removesuffix(".nii.gz") for case in cases]
