"""Real headers and real sizes: two PI-CAI studies through the container's entry point and against nnU-Net itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_textguided.inference.grand_challenge import DETECTION_MAP, INPUTS, detect, read_study, write_channels
from nnunetv2_textguided.inference.options import ModelOptions
from nnunetv2_textguided.inference.run import Summary
from tests.inference.conftest import read, stock_predict
from tests.inference.models import Model, dataset_json, make_model
from tests.inference.test_geometry import same_geometry

STUDIES = {"10795": "10795_1000811", "11373": "11373_1001396"}


@pytest.fixture(scope="module")
def coarse(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Untrained, for resampled real studies: what it finds means nothing, where it lies does."""
    return make_model(
        tmp_path_factory.mktemp("coarse") / "model",
        spacing=(3.6, 3.0, 3.0),
        patch=(16, 48, 48),
        normalisation="ZScoreNormalization",
        mirror_axes=(2,),
    )


@pytest.fixture(scope="module", params=STUDIES)
def study(request: pytest.FixtureRequest, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real study in Grand Challenge's layout."""
    source = tmp_path_factory.mktemp("study")
    for suffix, place in zip(("t2w", "adc", "hbv"), INPUTS.values(), strict=True):
        folder = source / "images" / place
        folder.mkdir(parents=True)
        name = f"{STUDIES[request.param]}_{suffix}.mha"
        (folder / "a1b2.mha").symlink_to(shared / "data" / "picai_real" / "images" / request.param / name)
    return source


@pytest.fixture(scope="module")
def images(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study as nnU-Net's image files, made once for all predictions of it."""
    folder = tmp_path_factory.mktemp("channels") / "in"
    write_channels(read_study(study), folder, dataset_json({"csPCa": 1}))
    return folder


def test_entry_point_maps_a_real_study_on_its_t2_grid(coarse: Model, study: Path, tmp_path: Path) -> None:
    options = ModelOptions(coarse.folder, (0,), mirroring=False)
    likelihood = detect(options, study, tmp_path / "output", candidates="mask")
    found = sitk.ReadImage(str(tmp_path / "output" / DETECTION_MAP))
    t2 = sitk.ReadImage(str(study / "images" / INPUTS["T2W"] / "a1b2.mha"))
    assert same_geometry(found, t2)
    assert likelihood == pytest.approx(float(sitk.GetArrayFromImage(found).max()))


@pytest.mark.parametrize(("folds", "mirroring"), [((0,), False), ((0,), True), ((0, 1), False), ((0, 1), True)])
def test_masks_of_real_studies_are_those_of_stock_prediction(
    predict: Callable[..., Summary],
    coarse: Model,
    images: Path,
    tmp_path: Path,
    folds: tuple[int, ...],
    mirroring: bool,
) -> None:
    stock_predict(coarse.folder, images, tmp_path / "stock", folds, mirroring)
    predict(images, trained=coarse.folder, folds=folds, mirroring=mirroring, heatmaps=True, candidates="none")
    stock = read(tmp_path / "stock" / "case.nii.gz")
    assert 0 < stock.mean() < 1
    assert np.array_equal(read(tmp_path / "out" / "case.nii.gz"), stock)
