"""Two real studies: an ISUP 3 lesion of 0.31 mL in the right peripheral zone, and a negative one."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_textguided.cli import main
from nnunetv2_textguided.imaging.geometry import compare_grids
from nnunetv2_textguided.picai.check_dataset import check_dataset

POSITIVE, NEGATIVE = "11373_1001396", "10795_1000811"


@pytest.fixture(scope="module")
def dataset(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both studies, prepared by the command with zones."""
    real, raw = shared / "data" / "picai_real", tmp_path_factory.mktemp("raw")
    folders = ["--images", str(real / "images"), "--labels", str(real / "picai_labels"), "--raw", str(raw)]
    assert main(["picai", "prepare", *folders, "-d", "2203", "--classes", "zones", "--jobs", "1"]) == 0
    return raw / "Dataset2203_PICAI"


def read(dataset: Path, case: str) -> tuple[list[np.ndarray], sitk.Image]:
    images = [sitk.ReadImage(str(dataset / f"imagesTr/{case}_{i:04d}.nii.gz")) for i in range(3)]
    label = sitk.ReadImage(str(dataset / f"labelsTr/{case}.nii.gz"))
    return [sitk.GetArrayFromImage(i).astype(float) for i in images], label


def test_the_table_states_what_is_known_of_both(dataset: Path) -> None:
    with (dataset / "cases.csv").open(newline="") as handle:
        rows = {row["case"]: row for row in csv.DictReader(handle)}
    positive, negative = rows[POSITIVE], rows[NEGATIVE]
    assert (positive["csPCa"], positive["ISUP"], positive["lesions"], positive["fold"]) == ("YES", "3", "1", "2")
    assert float(positive["lesion_ml"]) == pytest.approx(0.3105)
    assert float(positive["gland_ml"]) == pytest.approx(44.28, abs=0.01)
    assert (negative["csPCa"], negative["ISUP"], negative["lesions"], negative["lesion_ml"]) == ("NO", "1", "0", "0.0")


def test_the_label_lies_on_the_lesion(dataset: Path) -> None:
    (t2w, adc, hbv), label = read(dataset, POSITIVE)
    values = sitk.GetArrayFromImage(label)
    lesion, peripheral = values == 3, values == 1
    assert lesion.sum() == 414
    # Restricted diffusion: dark on ADC, bright on HBV, and dark on T2W against the peripheral zone around it.
    assert np.median(adc[lesion]) < 0.75 * np.median(adc[peripheral])
    assert np.median(hbv[lesion]) > 1.4 * np.median(hbv[peripheral])
    assert np.median(t2w[lesion]) < 0.8 * np.median(t2w[peripheral])
    # The patient's right is at smaller x (LPS), posterior at larger y; the lesion touches the peripheral zone.
    centre = np.argwhere(lesion).mean(axis=0)
    gland = np.argwhere(values > 0).mean(axis=0)
    assert centre[2] < gland[2]
    assert centre[1] > gland[1]
    grown = sitk.GetArrayFromImage(sitk.BinaryDilate(label == 3, (2, 2, 0)))
    assert (peripheral & (grown > 0)).sum() > 0.5 * ((grown > 0) & ~lesion).sum()


def test_the_negative_study_has_zones_and_no_lesion(dataset: Path) -> None:
    _, label = read(dataset, NEGATIVE)
    assert set(np.unique(sitk.GetArrayFromImage(label))) == {0, 1, 2}


def test_real_headers_differ_and_are_one_grid_within_tolerance(shared: Path) -> None:
    real = shared / "data" / "picai_real"
    t2w = sitk.ReadImage(str(real / f"images/11373/{POSITIVE}_t2w.mha"))
    expert = real / f"picai_labels/csPCa_lesion_delineations/human_expert/resampled/{POSITIVE}.nii.gz"
    difference = compare_grids(sitk.ReadImage(str(expert)), t2w)
    assert difference.same_grid
    assert 0.01 < difference.voxels < 0.2


def test_the_prepared_set_passes_its_check(dataset: Path) -> None:
    findings = check_dataset(dataset, workers=1, progress=False)
    # Both studies are in validation fold 2, so every fold lacks one part; nothing else is to say.
    assert [f.what for f in findings if not f.what.startswith("Fold ")] == []
