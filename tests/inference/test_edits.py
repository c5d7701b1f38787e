"""Voxels that the refiner put under each label, and that it took away, counted from the predicted change maps."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_textguided.inference.edits import count_edits
from nnunetv2_textguided.inference.explaining import Layout

CLASSES = Layout(3, ("zone", "lesion"), explained=True, refined=True)
REGIONS = Layout(2, ("gland", "lesion"), explained=True, refined=True)


def _predicted(layout: Layout, voxels: list[tuple[list[float], list[float]]]) -> np.ndarray:
    """Channels of a row of voxels, each given as its logits and the changes that are in them."""
    logits, changes = (np.array(values, dtype=np.float32).T for values in zip(*voxels, strict=True))
    heatmaps = np.zeros((len(layout.labels), len(voxels)), dtype=np.float32)
    return np.concatenate([logits, heatmaps, changes])[:, None, None]


def test_a_voxel_that_goes_from_one_class_to_another_is_added_to_one_and_removed_from_the_other() -> None:
    row = [([0, 1, 2], [0, 1.5]), ([0, 2, 1], [0, 0]), ([0, -1, -1], [-3, 0]), ([0, -1, 3], [0, 2])]
    found = count_edits(_predicted(CLASSES, row), CLASSES)  # type: ignore[arg-type]
    assert found == {"zone": {"added": 0, "removed": 2}, "lesion": {"added": 1, "removed": 0}}


def test_regions_change_each_on_its_own() -> None:
    row = [([1, 1], [2, 0]), ([1, -1], [2, -3]), ([-1, 2], [0, 1])]
    found = count_edits(_predicted(REGIONS, row), REGIONS)  # type: ignore[arg-type]
    assert found == {"gland": {"added": 2, "removed": 0}, "lesion": {"added": 0, "removed": 1}}


def test_the_threshold_decides_what_an_edit_changes() -> None:
    row = [([-1, -1], [0, 0.5])]  # the lesion's probability goes from .18 to .27
    predicted = _predicted(REGIONS, row)  # type: ignore[arg-type]
    assert count_edits(predicted, REGIONS)["lesion"] == {"added": 0, "removed": 0}
    assert count_edits(predicted, REGIONS, {"lesion": 0.25})["lesion"] == {"added": 1, "removed": 0}


def test_nothing_is_counted_where_nothing_changed() -> None:
    predicted = np.random.default_rng(0).normal(size=(7, 4, 5, 6)).astype(np.float32)
    predicted[CLASSES.change] = 0
    assert count_edits(predicted, CLASSES) == {label: {"added": 0, "removed": 0} for label in CLASSES.labels}
    assert count_edits(np.zeros((7, 0, 5, 6), np.float32), CLASSES)["zone"] == {"added": 0, "removed": 0}


def test_they_are_the_difference_to_the_masks_without_the_refiner(
    predict: Callable[..., object], tmp_path: Path
) -> None:
    predict(heatmaps=True)
    (tmp_path / "out").rename(tmp_path / "refined")
    predict(model_options={"refiner": False}, heatmaps=True)
    total = 0
    with (tmp_path / "refined" / "cases.csv").open() as stream:
        rows = {row["case"]: row for row in csv.DictReader(stream)}
    for path in sorted((tmp_path / "refined").glob("*.nii.gz")):
        name = path.name.removesuffix(".nii.gz")
        on, off = (sitk.GetArrayFromImage(sitk.ReadImage(str(folder / path.name))) > 0
                   for folder in (tmp_path / "refined", tmp_path / "out"))  # fmt: skip
        record = json.loads((tmp_path / "refined" / "cases" / f"{name}.json").read_text())
        (edits,) = record["refiner_edits"].values()
        assert edits["added"] == pytest.approx((on & ~off).sum(), abs=2)
        assert edits["removed"] == pytest.approx((off & ~on).sum(), abs=2)
        assert rows[name]["refiner_added_voxels"] == str(edits["added"])
        total += sum(edits.values())
        assert "refiner_edits" not in json.loads((tmp_path / "out" / "cases" / f"{name}.json").read_text())
    assert total > 10, "the fixture's refiner flips voxels"
