"""A training whose text is supervised by anatomy: preprocessed, loaded, augmented, learned from, and predicted."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

from nnunetv2_textguided.anatomy.preprocessing import preprocess_anatomy
from nnunetv2_textguided.errors import DataError, TrainingError
from nnunetv2_textguided.training import nnUNetTrainerAlignRefine
from nnunetv2_textguided.training.step import without_anatomy
from tests.datasets import ZONES, Workspace, add_zones

Make = Callable[..., nnUNetTrainerAlignRefine]
BLOCK = {"alignment": {"anatomy": True}}


@pytest.fixture
def described(workspace: Workspace) -> Workspace:
    """The tiny data set with a zone on either side, also under its lesions."""
    raw, preprocessed = _folders(workspace)

    def draw(zones: np.ndarray) -> None:
        zones[..., :12], zones[..., 20:] = 1, 2

    add_zones(raw, preprocessed, draw)
    return workspace


def _folders(workspace: Workspace) -> tuple[Path, Path]:
    (raw,), (preprocessed,) = (list((workspace.root / name).iterdir()) for name in ("raw", "preprocessed"))
    return raw, preprocessed


def _preprocess(workspace: Workspace, configuration: str = "3d_fullres", processes: int = 1) -> tuple[int, int, Path]:
    return preprocess_anatomy(*_folders(workspace), "nnUNetPlans", configuration, processes)


@pytest.mark.parametrize("configuration", ["3d_fullres", "2d"])
def test_labels_go_the_way_that_nnunets_own_labels_go(described: Workspace, configuration: str) -> None:
    raw, preprocessed = _folders(described)
    for path in (raw / "labelsTr").iterdir():
        (raw / "anatomyTr" / path.name).write_bytes(path.read_bytes())
    cases, done, folder = _preprocess(described, configuration)
    assert cases == done == 5
    loaded = nnUNetDatasetBlosc2(str(preprocessed / f"nnUNetPlans_{configuration}"), None, str(folder))
    seen = 0
    for case in loaded.identifiers:
        _, labels, anatomy, _ = loaded.load_case(case)
        # Outside of the image, nnU-Net marks labels by -1.
        np.testing.assert_array_equal(np.maximum(labels[0], 0), anatomy[:])
        seen += int(np.sum(anatomy[:] > 0))
    assert seen > 0


def test_the_command_does_only_what_is_not_done(described: Workspace) -> None:
    words = ("anatomy", "-d", "901", "-np", "2")
    assert "5 of them preprocessed now" in described.run("nnUNetv2_textguided", *words)
    _, preprocessed = _folders(described)
    folder = preprocessed / "nnUNetPlans_3d_fullres_anatomy"
    assert sorted(p.name for p in folder.iterdir()) == [f"case_{i:03d}.b2nd" for i in range(5)]
    (folder / "case_001.b2nd").unlink()
    source = _folders(described)[0] / "anatomyTr" / "case_002.nii.gz"
    os.utime(source, (source.stat().st_atime, (folder / "case_002.b2nd").stat().st_mtime + 1))
    assert "2 of them preprocessed now" in described.run("nnUNetv2_textguided", *words)


def test_every_file_that_does_not_fit_is_named_and_the_others_are_done(described: Workspace) -> None:
    raw, preprocessed = _folders(described)
    files = [raw / "anatomyTr" / f"case_{i:03d}.nii.gz" for i in range(3)]
    files[0].write_bytes(files[0].read_bytes()[:40])
    sitk.WriteImage(sitk.ReadImage(str(files[1])) * 7, str(files[1]))
    sitk.WriteImage(sitk.ReadImage(str(files[2]))[:, :, 1:], str(files[2]))
    with pytest.raises(DataError, match="3 of 5 cases") as raised:
        _preprocess(described)
    for words in ("case_000: cannot be read", "case_001: holds 7, 14, which", "case_002: has"):
        assert words in str(raised.value)
    done = {path.name for path in (preprocessed / "nnUNetPlans_3d_fullres_anatomy").iterdir()}
    assert done == {"case_003.b2nd", "case_004.b2nd"}


def test_a_case_without_a_file_is_named_before_anything_is_done(described: Workspace) -> None:
    raw, preprocessed = _folders(described)
    (raw / "anatomyTr" / "case_003.nii.gz").unlink()
    with pytest.raises(DataError, match="1 of 5 cases have no anatomy: case_003"):
        _preprocess(described)
    assert not (preprocessed / "nnUNetPlans_3d_fullres_anatomy").exists()


def test_a_data_set_without_anatomy_says_how_to_describe_it(workspace: Workspace) -> None:
    with pytest.raises(DataError, match="has no 'anatomy'") as raised:
        _preprocess(workspace)
    assert "anatomyTr" in str(raised.value)


def test_a_validation_that_would_fail_for_want_of_a_reference_is_told_before_the_training(
    described: Workspace, make_trainer: Make
) -> None:
    trainer = make_trainer(block=BLOCK)
    case = trainer.do_split()[1][0]
    references = _folders(described)[1] / "gt_segmentations"
    (references / f"{case}.nii.gz").unlink()
    with pytest.raises(TrainingError, match=rf"(?s)references of 1 validation cases.*{case}.*gt_segmentations"):
        trainer.on_train_start()
    shutil.rmtree(references)
    with pytest.raises(TrainingError, match="nnUNetv2_preprocess again"):
        make_trainer(block=BLOCK).on_train_start()


def test_training_makes_what_is_missing_where_it_has_the_raw_data(described: Workspace, make_trainer: Make) -> None:
    trainer = make_trainer(block=BLOCK)
    trainer.on_train_start()
    folder = _folders(described)[1] / "nnUNetPlans_3d_fullres_anatomy"
    assert len(list(folder.iterdir())) == 5
    for path in folder.iterdir():
        path.unlink()
    (_folders(described)[0] / "anatomyTr").rename(described.root / "elsewhere")
    with pytest.raises(TrainingError, match="5 cases have no preprocessed anatomy"):
        make_trainer(block=BLOCK).on_train_start()


def test_folds_that_start_together_preprocess_once(described: Workspace) -> None:
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda _: _preprocess(described), range(3)))
    assert sorted(done for _, done, _ in results) == [0, 0, 5]


def test_training_without_the_files_names_the_command(described: Workspace, make_trainer: Make) -> None:
    trainer = make_trainer(block=BLOCK)
    trainer.initialize()
    with pytest.raises(TrainingError, match="5 cases have no preprocessed anatomy") as raised:
        trainer.get_dataloaders()
    assert "nnUNetv2_textguided anatomy -d Dataset901_Tiny -c 3d_fullres -p nnUNetPlans" in str(raised.value)


def test_regions_and_anatomy_exclude_each_other(described: Workspace, make_trainer: Make) -> None:
    regions = {"labels": {"background": 0, "gland": [1, 2], "csPCa": [2]}, "regions_class_order": [1, 2]}
    with pytest.raises(TrainingError, match="region-based"):
        make_trainer(block=BLOCK, dataset=regions)


def test_it_is_used_only_where_it_is_asked_for(described: Workspace, make_trainer: Make) -> None:
    trainer = make_trainer(block={"alignment": {"anatomy": False}})
    assert trainer.anatomy is None
    assert trainer.settings.text.resolved is not None
    assert trainer.settings.text.resolved.labels == ["csPCa"]


@pytest.mark.parametrize("configuration", ["3d_fullres", "2d"])
def test_augmented_targets_train_the_text_and_not_the_segmentation(
    described: Workspace, make_trainer: Make, configuration: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    _preprocess(described, configuration)
    trainer = make_trainer(block=BLOCK, configuration=configuration)
    trainer.initialize()
    resolved = trainer.settings.text.resolved
    assert resolved is not None
    assert (resolved.labels, resolved.segmented) == (["csPCa", *ZONES], ["csPCa"])
    assert trainer.bare_network.decoder.seg_layers[-1].out_channels == 2
    loader, validation = trainer.get_dataloaders()
    batch = next(loader)
    assert {part.shape[1] for part in batch["target"]} == {2}
    assert set(torch.unique(batch["target"][0][:, 1]).tolist()) == {0, 1, 2}
    trainer.on_train_start()
    trainer.current_epoch = 5
    trainer.on_train_epoch_start()
    values = dict(zip(("loss", "seg", "align"), trainer.train_step(batch)["terms"][:3], strict=True))
    assert np.isfinite(list(values.values())).all()
    assert values["align"] > 0
    trainer.on_validation_epoch_start()
    assert np.isfinite(trainer.validation_step(next(validation))["loss"])


def test_other_zones_change_the_text_losses_and_nothing_else(described: Workspace, make_trainer: Make) -> None:
    trainer = make_trainer(block=BLOCK)
    trainer.initialize()
    assert trainer.text_guidance.loss is not None
    trainer.text_guidance.loss.lambda_align.fill_(1.0)
    patch = trainer.configuration_manager.patch_size
    target = torch.zeros(1, 2, *patch)
    target[:, 1, ..., : patch[-1] // 2] = 1
    data = torch.randn(1, 3, *patch)
    outputs, similarity = trainer.network(data, return_similarity=True)
    assert similarity.shape[1] == 3
    for value in (1, 2):
        terms = trainer.text_guidance.loss(similarity, target * value)
        half = torch.sigmoid(similarity[:, value, ..., : similarity.shape[-1] // 2]).mean()
        torch.testing.assert_close(terms.align, 1 - half)
    scales = [torch.nn.functional.interpolate(target, output.shape[2:]) for output in outputs]
    other = [part * torch.tensor([1.0, 2.0]).view(1, 2, *(1,) * (part.ndim - 2)) for part in scales]
    assert trainer.loss(outputs, without_anatomy(scales)) == trainer.loss(outputs, without_anatomy(other))


def test_stock_commands_train_continue_and_predict(described: Workspace) -> None:
    """Training makes its anatomy, prediction reads none, and heatmaps are those of what is segmented."""
    described.edit_plans("3d_fullres", {**BLOCK, "training": {"epochs": 1, "iterations_per_epoch": 1}})
    model = ("901", "3d_fullres", "0", "-tr", "nnUNetTrainerAlignRefine", "-device", "cpu")
    described.run("nnUNetv2_train", *model)
    raw, preprocessed = _folders(described)
    for path in (preprocessed / "nnUNetPlans_3d_fullres_anatomy").iterdir():
        path.unlink()
    described.run("nnUNetv2_train", *model, "--val")
    out = described.root / "out"
    described.run(
        "nnUNetv2_textguided",
        *("predict", "-i", str(raw / "imagesTs"), "-o", str(out), "-d", "901", "-c", "3d_fullres"),
        *("-tr", "nnUNetTrainerAlignRefine", "-f", "0", "--heatmaps", "-device", "cpu"),
    )
    assert (out / "case_005.nii.gz").is_file()
    assert [path.name for path in (out / "heatmaps").iterdir()] == ["csPCa"]
