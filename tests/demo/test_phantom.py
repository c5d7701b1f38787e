"""The phantom: seeded, physically plausible, and a data set that nnU-Net accepts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from nnunetv2_textguided.demo.phantom import (
    CHANNELS,
    LESION,
    PhantomCase,
    PhantomDataset,
    label_values,
    render_case,
    split_folds,
    write_dataset,
)
from nnunetv2_textguided.demo.shapes import Grid, ellipsoid, soft
from nnunetv2_textguided.demo.tissue import CANCER, FAT, TissueMap
from nnunetv2_textguided.errors import DataError

COARSE = Grid((13, 48, 48), (3.0, 1.25, 1.25))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PhantomDataset:
    return write_dataset(
        tmp_path_factory.mktemp("raw") / "Dataset901_Test", training=5, testing=4, seed=3, grid=COARSE, zones=True
    )


@pytest.fixture(scope="module")
def cases() -> list[PhantomCase]:
    return [render_case((seed,), 1, zones=True) for seed in range(8)]


def test_the_same_seed_gives_the_same_case_and_another_seed_another() -> None:
    first, again, other = (render_case((seed,), 1, grid=COARSE) for seed in (1, 1, 2))
    for name in CHANNELS:
        np.testing.assert_array_equal(first.images[name], again.images[name])
        assert not np.array_equal(first.images[name], other.images[name])
    np.testing.assert_array_equal(first.labels, again.labels)
    assert first.lesions == again.lesions != other.lesions


def test_a_case_does_not_depend_on_how_many_cases_there_are(dataset: PhantomDataset, tmp_path: Path) -> None:
    smaller = write_dataset(tmp_path, training=6, testing=1, seed=3, grid=COARSE, zones=True)
    for part, identifier in (("Tr", "phantom_004"), ("Ts", "test_000")):
        images = [
            sitk.GetArrayFromImage(sitk.ReadImage(str(folder / f"images{part}" / f"{identifier}_0000.nii.gz")))
            for folder in (dataset.folder, smaller.folder)
        ]
        np.testing.assert_array_equal(*images)


def test_channels_and_labels_of_a_case_share_their_geometry(dataset: PhantomDataset) -> None:
    folder = dataset.folder
    for part, identifiers in (("Tr", dataset.training), ("Ts", dataset.testing)):
        for identifier in identifiers:
            files = [folder / f"images{part}" / f"{identifier}_{i:04d}.nii.gz" for i in range(3)]
            images = [sitk.ReadImage(str(f)) for f in [*files, folder / f"labels{part}" / f"{identifier}.nii.gz"]]
            geometry = {(i.GetSize(), i.GetSpacing(), i.GetOrigin(), i.GetDirection()) for i in images}
            assert len(geometry) == 1
            assert images[0].GetSize() == (48, 48, 13)
            assert images[0].GetSpacing() == pytest.approx((1.25, 1.25, 3.0))


def test_dataset_json_names_what_is_there(dataset: PhantomDataset) -> None:
    described = json.loads((dataset.folder / "dataset.json").read_text())
    assert described["numTraining"] == len(list((dataset.folder / "labelsTr").iterdir())) == 5
    assert list(described["channel_names"].values()) == list(CHANNELS)
    found = {
        int(value)
        for file in (dataset.folder / "labelsTr").iterdir()
        for value in np.unique(sitk.GetArrayFromImage(sitk.ReadImage(str(file))))
    }
    assert found == set(described["labels"].values()) == {0, 1, 2, 3}


def test_both_parts_have_cases_with_one_with_two_and_without_lesions(dataset: PhantomDataset) -> None:
    drawn = json.loads((dataset.folder / "phantom.json").read_text())["lesions"]
    for identifiers in (dataset.training, dataset.testing):
        assert {len(drawn[identifier]) for identifier in identifiers} == {0, 1, 2}
    for identifier in dataset.testing:
        labels = sitk.GetArrayFromImage(sitk.ReadImage(str(dataset.folder / "labelsTs" / f"{identifier}.nii.gz")))
        assert (labels == label_values(True)[LESION]).any() == bool(drawn[identifier])


def test_lesions_are_dark_on_t2w_and_adc_and_bright_on_hbv(cases: list[PhantomCase]) -> None:
    ratios = {name: [] for name in CHANNELS}
    for case in cases:
        lesion, gland = case.labels == 3, case.labels > 0
        around = ndimage.binary_dilation(lesion, np.ones((1, 13, 13))) & gland & ~lesion
        for name in CHANNELS:
            ratios[name].append(case.images[name][lesion].mean() / case.images[name][around].mean())
    assert np.mean(ratios["T2W"]) < 0.95
    assert np.mean(ratios["ADC"]) < 0.85
    assert max(ratios["ADC"]) < 1
    assert np.mean(ratios["HBV"]) > 1.2
    assert min(ratios["HBV"]) > 1


def test_conspicuous_lesions_stand_out_more_than_faint_ones() -> None:
    cases = [render_case((seed,), 1, zones=True) for seed in range(12)]
    contrast = [1 - c.images["ADC"][c.labels == 3].mean() / c.images["ADC"][c.labels > 0].mean() for c in cases]
    conspicuity = [case.lesions[0].conspicuity for case in cases]
    assert max(conspicuity) - min(conspicuity) > 0.3
    assert np.corrcoef(conspicuity, contrast)[0, 1] > 0.5


def test_zones_look_like_zones(cases: list[PhantomCase]) -> None:
    for case in cases:
        t2w, adc = case.images["T2W"], case.images["ADC"]
        peripheral, transition = case.labels == 1, case.labels == 2
        assert t2w[peripheral].mean() > 1.15 * t2w[transition].mean()
        assert 1200 < adc[peripheral].mean() < 2000
        assert adc[peripheral].mean() > adc[transition].mean()
        assert 15_000 < (case.labels > 0).sum() * 3.0 * 0.9 * 0.9 < 120_000  # mm3: prostates of 15 to 120 ml


def test_diffusion_is_acquired_at_a_lower_resolution_than_t2w(cases: list[PhantomCase]) -> None:
    def fine_detail(image: np.ndarray) -> float:
        spectrum = np.abs(np.fft.fft2(image - image.mean(axis=(1, 2), keepdims=True))) ** 2
        frequency = np.maximum(*np.meshgrid(*[np.abs(np.fft.fftfreq(n)) for n in image.shape[1:]], indexing="ij"))
        return float(spectrum[:, frequency > 0.35].sum() / spectrum.sum())

    for case in cases:
        assert fine_detail(case.images["HBV"]) < 0.3 * fine_detail(case.images["T2W"])


def test_a_case_without_lesions_has_no_lesion_label() -> None:
    case = render_case((5,), 0, grid=COARSE, zones=True)
    assert case.lesions == ()
    assert set(np.unique(case.labels)) == {0, 1, 2}


@pytest.mark.parametrize(
    ("size", "spacing", "message"),
    [
        ((16, 20, 80), (3.0, 0.9, 0.9), "along y is 18 mm"),
        ((2, 80, 80), (3.0, 0.9, 0.9), "along z is 6 mm"),
        ((16, 0, 80), (3.0, 0.9, 0.9), "must be positive"),
        ((16, 80, 80), (3.0, -0.9, 0.9), "must be positive"),
        ((16, 80, 80), (3.0, float("nan"), 0.9), "must be positive"),
        ((80, 80), (0.9, 0.9), "three axes"),
    ],
)
def test_degenerate_grids_are_refused(size: tuple, spacing: tuple, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Grid(size, spacing)


def test_an_oddly_shaped_grid_renders() -> None:
    case = render_case((0,), 2, grid=Grid((41, 57, 61), (1.0, 1.0, 1.0)))
    assert case.labels.shape == case.images["HBV"].shape == (41, 57, 61)
    assert all(np.isfinite(image).all() for image in case.images.values())


@pytest.mark.parametrize(("training", "testing"), [(4, 1), (5, 0)])
def test_too_few_cases_are_refused(training: int, testing: int, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="too few"):
        write_dataset(tmp_path, training=training, testing=testing, grid=COARSE)


def test_folds_partition_the_cases_and_spread_those_without_lesions() -> None:
    identifiers = [f"phantom_{i:03d}" for i in range(24)]
    folds = split_folds(identifiers)
    assert sorted(name for fold in folds for name in fold["val"]) == identifiers
    for fold in folds:
        assert set(fold["train"]) | set(fold["val"]) == set(identifiers)
        assert not set(fold["train"]) & set(fold["val"])
        healthy = [name for name in fold["val"] if int(name[-3:]) % 4 == 3]
        assert 0 < len(healthy) < len(fold["val"])


def test_painting_replaces_a_fraction_of_each_voxel() -> None:
    canvas = TissueMap(COARSE, FAT)
    half = np.zeros(COARSE.size, np.float32)
    half[0], half[1] = 1.0, 0.5
    canvas.paint(CANCER, half)
    assert canvas.adc[0, 0, 0] == pytest.approx(CANCER.adc)
    assert canvas.adc[1, 0, 0] == pytest.approx((CANCER.adc + FAT.adc) / 2)
    assert canvas.adc[2, 0, 0] == pytest.approx(FAT.adc)


def test_the_distance_to_an_ellipsoid_is_a_distance_near_its_surface() -> None:
    points = Grid((41, 61, 61), (1.0, 1.0, 1.0)).points()
    distance = ellipsoid(points, (0, 0, 0), (10, 15, 20))
    for axis, radius in enumerate((10, 15, 20)):
        at = [20, 30, 30]
        at[axis] += radius - 1
        assert distance[tuple(at)] == pytest.approx(1.0, abs=0.1)
        at[axis] += 2
        assert distance[tuple(at)] == pytest.approx(-1.0, abs=0.1)
    volume = soft(distance).sum()
    assert volume == pytest.approx(4 / 3 * np.pi * 10 * 15 * 20, rel=0.02)
