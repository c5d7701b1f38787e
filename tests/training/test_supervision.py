"""A training that learns from cases with a report and no outline: which they are, how they are drawn, end to end."""

from __future__ import annotations

import csv
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from batchgenerators.utilities.file_and_folder_operations import load_json

from nnunetv2_textguided.anatomy.sectors import SECTORS
from nnunetv2_textguided.errors import SettingsError, TrainingError
from nnunetv2_textguided.nnunet.loaders import PlacedCases
from nnunetv2_textguided.training import nnUNetTrainerAlignRefine
from nnunetv2_textguided.training.step import StepTerms
from tests.datasets import Workspace, add_zones, write_dataset
from tests.training.conftest import SHORT

Make = Callable[..., nnUNetTrainerAlignRefine]
ON: dict[str, Any] = {"components": [], "text": {"supervision": {"enabled": True, "start": 0.0, "ramp": 0.0}}}
FOUND, NONE = "case_003", "case_004"
"""Cases with a report instead of an outline: of one lesion, of none."""
TEXTS = {
    FOUND: {"target": {"lesions": 1, "findings": [{"zone": "PZ", "side": "right", "diameter_mm": 10}]}},
    NONE: {"target": {"lesions": 0}},
}
FOLDS = [
    {"train": ["case_000", "case_001", FOUND, NONE], "val": ["case_002"]},
    {"train": ["case_000", "case_001", "case_002", NONE], "val": [FOUND]},
]


@pytest.fixture(scope="module")
def reported_once(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Planned and preprocessed by nnU-Net's commands, with label maps of nothing but the ignore label."""
    workspace = Workspace(tmp_path_factory.mktemp("reported"))
    raw = write_dataset(workspace.root / "raw")
    for case in (FOUND, NONE):
        path = raw / "labelsTr" / f"{case}.nii.gz"
        sitk.WriteImage(sitk.ReadImage(str(path)) * 0 + 2, str(path))
    description = load_json(raw / "dataset.json")
    description["labels"]["ignore"] = 2
    (raw / "dataset.json").write_text(json.dumps(description))
    workspace.plan(901, "3d_fullres")
    (raw / "case_text.json").write_text(json.dumps(TEXTS))
    (workspace.plans_path().parent / "splits_final.json").write_text(json.dumps(FOLDS))
    return workspace


@pytest.fixture
def planned(reported_once: Workspace) -> Workspace:
    """What the fixtures of the other tests copy, in this file."""
    return reported_once


@pytest.fixture
def zoned(workspace: Workspace) -> Workspace:
    """The data set with zones."""

    def draw(zones: np.ndarray) -> None:
        zones[:, 8:24, 4:28], zones[:, 10:16, 10:22] = 1, 2

    add_zones(*_folders(workspace), draw)
    return workspace


@pytest.fixture
def make(zoned: Workspace, make_trainer: Make, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Trainers on it, whose loaders are of this process."""
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    return make_trainer


def _folders(workspace: Workspace) -> tuple[Path, Path]:
    (raw,), (preprocessed,) = (list((workspace.root / name).iterdir()) for name in ("raw", "preprocessed"))
    return raw, preprocessed


def started(trainer: nnUNetTrainerAlignRefine) -> nnUNetTrainerAlignRefine:
    """A trainer before its first step."""
    trainer.on_train_start()
    trainer.on_train_epoch_start()
    return trainer


def batch_of(trainer: nnUNetTrainerAlignRefine, *cases: str) -> dict[str, Any]:
    """A batch of the training loader with these cases."""
    loader = trainer.dataloader_train.data_loader
    loader.get_indices = lambda: np.array(cases)
    batch: dict[str, Any] = loader.generate_train_batch()
    return batch


def test_cases_are_told_apart_drawn_at_their_share_and_cropped_where_the_report_points(make: Make) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # nnU-Net's: no annotated voxel
        trainer = started(make(block={**ON, "text": {"supervision": {**ON["text"]["supervision"], "share": 0.4}}}))
        for _ in range(4):
            batch_of(trainer, FOUND, NONE)
    reports = trainer.text_guidance.reports
    assert reports is not None
    assert (reports.cases.lesion, reports.cases.free) == (["case_001"], ["case_000"])
    assert set(reports.cases.targets) == {FOUND, NONE}
    log = Path(trainer.log_file).read_text()
    assert "2 cases with an outline (1 with a lesion, 1 without); 2 with a report instead (1 with lesions, 1 of" in log
    assert "40% of patches" in log
    loader = trainer.dataloader_train.data_loader
    np.testing.assert_allclose(loader.sampling_probabilities, [0.3, 0.3, 0.2, 0.2])
    assert trainer.dataloader_val.data_loader.sampling_probabilities is None
    placed = loader._data
    assert isinstance(placed, PlacedCases)
    sectors = placed.load_case(FOUND)[2][:]
    ((key, places),) = placed.load_case(FOUND)[3]["class_locations"].items()
    assert key == loader.annotated_classes_key
    values = {int(value) for value in sectors[tuple(places[:, 1:].T)]}
    assert {SECTORS[value - 1][:2] for value in values} == {("peripheral zone", "right")}
    assert placed.load_case("case_001")[3]["class_locations"].keys() == {1, key}


@pytest.mark.parametrize("components", [[], ["alignment", "heatmap", "refiner"]])
def test_a_step_learns_from_reports(make: Make, components: list[str]) -> None:
    trainer = started(make(block={**ON, "components": components}))
    batch = batch_of(trainer, FOUND, NONE)
    assert {part.shape[1] for part in batch["target"]} == {2}
    assert (batch["target"][0][:, 0] == 2).any()
    outcome = dict(zip(StepTerms._fields, trainer.train_step(batch)["terms"], strict=True))
    assert all(np.isfinite(outcome[name]) for name in ("loss", "loss_seg", "loss_report_place", "loss_report_volume"))
    assert 0 < outcome["loss_report_place"] <= 1
    assert outcome["loss"] > outcome["loss_seg"]
    none = dict(zip(StepTerms._fields, trainer.train_step(batch_of(trainer, "case_001", NONE))["terms"], strict=True))
    assert np.isnan(none["loss_report_place"])
    trainer.on_validation_epoch_start()
    with torch.no_grad():
        assert np.isfinite(trainer.validation_step(next(trainer.dataloader_val))["loss"])


def _gradients(trainer: nnUNetTrainerAlignRefine, batch: dict[str, Any]) -> tuple[float, list[torch.Tensor]]:
    torch.manual_seed(0)
    for parameter in trainer.bare_network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    trainer.optimizer.step = lambda: None  # type: ignore[method-assign]
    loss = trainer.train_step(batch)["loss"]
    return float(loss), [p.grad.clone() for p in trainer.bare_network.parameters() if p.grad is not None]


@pytest.mark.parametrize("batch_dice", [False, True])
def test_a_batch_of_nothing_but_reports_is_defined(make: Make, zoned: Workspace, batch_dice: bool) -> None:
    """nnU-Net's loss of a sample that is ignored everywhere pulls at nothing; the report's does."""
    for weight in (0.0, 1.0):
        supervision = {**ON["text"]["supervision"], "weight": weight}
        trainer = make(block={**ON, "text": {"supervision": supervision}})
        trainer.configuration_manager.configuration["batch_dice"] = batch_dice
        started(trainer)
        batch = batch_of(trainer, FOUND, FOUND)
        for part in batch["target"]:
            part[:, 0] = 2  # where augmentation has turned the image, nnU-Net pads with background
        loss, gradients = _gradients(trainer, batch)
        assert np.isfinite(loss)
        assert all(gradient.isfinite().all() for gradient in gradients)
        assert any(bool(gradient.any()) for gradient in gradients) == (weight > 0)


def test_without_it_a_training_is_what_it_was(make: Make) -> None:
    """Off: stock loaders and no reports. On, in a batch without any: the same loss and gradients, bit by bit."""
    off, on = (started(make(block=block)) for block in ({"components": []}, ON))
    assert off.text_guidance.reports is None
    assert off.anatomy is None
    loader = off.dataloader_train.data_loader
    assert loader.sampling_probabilities is None
    assert not isinstance(loader._data, PlacedCases)
    batch = batch_of(on, "case_000", "case_001")
    alone = {**batch, "target": [part[:, :1] for part in batch["target"]]}
    (first, mine), (second, theirs) = _gradients(on, batch), _gradients(off, alone)
    assert first == second
    assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))


def test_what_cannot_be_learned_from_is_refused(make: Make, zoned: Workspace) -> None:
    raw, preprocessed = _folders(zoned)
    with pytest.raises(TrainingError, match="case_003: a case without an outline cannot be validated"):
        make(block=ON, fold=1).do_split()
    (raw / "case_text.json").write_text(json.dumps({FOUND: TEXTS[FOUND]}))
    with pytest.raises(TrainingError, match="case_004: all voxels are ignored, and no report"):
        make(block=ON).do_split()
    make(block={"components": []}).do_split()
    regions = {"background": 0, "gland": [1, 2], "lesion": [2], "ignore": 3}
    with pytest.raises(SettingsError, match="region-based"):
        make(block=ON, dataset={"labels": regions, "regions_class_order": [1, 2]})
    with pytest.raises(SettingsError, match="no label 'ignore'"):
        make(block=ON, dataset={"labels": {"background": 0, "csPCa": 1}})
    with pytest.raises(SettingsError, match="no label 'lesion'; the labels are csPCa"):
        make(block={**ON, "text": {"supervision": {"enabled": True, "labels": ["lesion"]}}})
    (raw / "case_text.json").write_text(json.dumps(TEXTS))
    empty = sitk.ReadImage(str(raw / "anatomyTr" / f"{FOUND}.nii.gz")) * 0
    sitk.WriteImage(empty, str(raw / "anatomyTr" / f"{FOUND}.nii.gz"))
    with pytest.raises(TrainingError, match="case case_003 names a place, and the case has no zones"):
        make(block=ON).on_train_start()
    assert preprocessed.is_dir()


def test_fold_all_validates_cases_with_outlines(make: Make) -> None:
    trainer = make(block=ON)
    trainer.fold = "all"
    train, validation = trainer.do_split()
    assert len(train) == 5
    assert sorted(validation) == ["case_000", "case_001", "case_002"]


def test_without_zones_only_counts_are_used(workspace: Workspace, make_trainer: Make) -> None:
    trainer = make_trainer(block=ON)
    assert trainer.anatomy is None
    reports = trainer.text_guidance.reports
    assert reports is not None
    trainer.do_split()
    assert "Places are not used: the data set has no zones." in reports.describe()


@pytest.mark.slow
def test_stock_commands_train_with_reports(zoned: Workspace) -> None:
    # Of so many patches some are of the case whose report names a place: none, by chance, once in a million.
    length = {**SHORT, "epochs": 3, "iterations_per_epoch": 12}
    zoned.edit_plans("3d_fullres", {**ON, "training": length})
    zoned.run("nnUNetv2_train", "901", "3d_fullres", "0", "-tr", "nnUNetTrainerAlignRefine", "-device", "cpu")
    fold = next((zoned.root / "results").glob("*/*/fold_0"))
    with (fold / "text_guidance_log.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["lambda_report"]) for row in rows] == [0.5, 0.5, 0.5]
    placed = [float(row["loss_report_place"]) for row in rows]
    assert any(0 < value <= 1 for value in placed)  # NaN in an epoch that drew no such case
    assert (fold / "validation" / "case_002.nii.gz").is_file()
    log = next(fold.glob("training_log_*.txt")).read_text()
    assert "2 with a report instead" in log
