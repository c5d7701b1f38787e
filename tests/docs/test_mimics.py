"""The second rendering (docs/evidence/mimics.py): benign findings drawn like small cancers, nothing else changed."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import SimpleITK as sitk

from tests.conftest import REPOSITORY
from tests.scripts import load_script

SCRIPT = REPOSITORY / "docs" / "evidence" / "mimics.py"
GRID = ["--size", "16", "64", "64", "--spacing", "3", "1.25", "1.25", "--centre", "gland"]
OPTIONS = [*GRID, "--n-train", "16", "--n-test", "0", "--seed", "0", "--workers", "1"]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script(SCRIPT)


def values(path: Path) -> np.ndarray:
    return np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), dtype=float)


@pytest.mark.slow
def test_findings_look_like_cancers_and_nothing_else_changes(shared: Path, tmp_path: Path) -> None:
    renderer = shared / "tools" / "phantom.py"
    plain, mimics = tmp_path / "Dataset001_Plain", tmp_path / "Dataset002_Mimics"
    for command in ([renderer, "--out", plain], [SCRIPT, "--renderer", renderer, "--out", mimics]):
        subprocess.run([sys.executable, *map(str, command), *OPTIONS], check=True, capture_output=True)
    cases = {row["id"]: row for row in csv.DictReader((plain / "cases.csv").open(encoding="utf-8"))}
    findings = list(csv.DictReader((mimics / "mimics.csv").open(encoding="utf-8")))
    assert len(findings) >= 3
    darker = []
    for case, row in cases.items():
        drawn, lesion = values(mimics / "mimicsTr" / f"{case}.nii.gz"), values(plain / "labelsTr" / f"{case}.nii.gz")
        assert np.array_equal(lesion, values(mimics / "labelsTr" / f"{case}.nii.gz"))
        assert not (drawn[lesion > 0] > 0).any()
        mine = [one for one in findings if one["case"] == case]
        assert len(mine) == len(np.unique(drawn)) - 1
        suspicious = sum(int(word) >= 3 for word in row["lesion_PIRADS"].split(",") if word.isdigit())
        assert len(mine) <= suspicious
        before, after = (values(f / "imagesTr" / f"{case}_0001.nii.gz") for f in (plain, mimics))
        if not suspicious:
            assert np.array_equal(before, after)
        for one in mine:
            inside = drawn == int(one["number"])
            darker.append(before[inside].mean() - after[inside].mean())
    assert np.mean(darker) > 100  # 1e-6 mm2/s of ADC


def test_a_study_has_the_findings_that_its_marksheet_lists(script: ModuleType) -> None:
    assert script.number_of({"csPCa": 0, "lesion_PIRADS": "2,5,N/A,3"}, 0) == [5, 3]
    assert script.number_of({"csPCa": 1, "lesion_PIRADS": "3,5,4"}, 1) == [4, 3]  # the highest is the cancer
    assert script.number_of({"csPCa": 1, "lesion_PIRADS": "5"}, 2) == []
    assert script.number_of({"csPCa": 0, "lesion_PIRADS": ""}, 0) == []


def test_a_shape_is_laid_into_its_zone_and_keeps_its_size(script: ModuleType) -> None:
    shape = script.Shape("p", np.ones((2, 8, 8), dtype=bool), (3.0, 0.5, 0.5), 1, 4)
    gland = np.zeros((10, 40, 40), dtype=bool)
    gland[2:8, 5:35, 5:35] = True
    zone = np.where(gland, 2, 0)
    zone[:, 20:] = np.where(gland[:, 20:], 1, 0)
    rng = np.random.default_rng(0)
    for _ in range(5):
        drawn = script.place(shape, zone, gland, gland.copy(), (3.0, 1.0, 1.0), rng)
        assert drawn.sum() == 2 * 4 * 4  # voxels of 1 mm instead of .5
        assert zone[tuple(np.round(np.argwhere(drawn).mean(0)).astype(int))] == 1
    assert script.place(shape, zone, gland, np.zeros_like(gland), (3.0, 1.0, 1.0), rng) is None
