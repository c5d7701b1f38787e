"""Maps lie where the image says: rotated, anisotropic, cropped, transposed, resampled, by every reader."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.inference.grid import image_like
from nnunetv2_textguided.inference.run import Summary
from tests.inference.models import PATCH, Model, ball, make_model, write_case

Predict = Callable[..., Summary]
READERS = ("SimpleITKIO", "SimpleITKIOWithReorient", "NibabelIO", "NibabelIOWithReorient")
SHAPE, SPACING = (14, 50, 70), (2.4, 0.8, 0.7)
RADIUS = 6.0


def rotated(shape: tuple[int, int, int], angles: tuple[float, float, float] = (0.2, -0.15, 0.3)) -> sitk.Image:
    """An empty image whose axes are oblique, and point to other sides than ITK's."""
    turn = sitk.Euler3DTransform((0, 0, 0), *angles)
    matrix = np.array(turn.GetMatrix()).reshape(3, 3) @ np.diag([-1, 1, -1])
    image = sitk.Image(shape[::-1], sitk.sitkFloat32)
    image.SetSpacing(SPACING[::-1])
    image.SetDirection(matrix.ravel().tolist())
    image.SetOrigin((31.0, -77.0, 12.5))
    return image


@pytest.fixture
def oblique(tmp_path: Path) -> tuple[Path, sitk.Image, np.ndarray]:
    """A case with a ball off the centre and a border of zeros that nnU-Net crops; its header; the ball."""
    lesion = ball(SHAPE, (5, 20, 45), RADIUS, SPACING)
    rng = np.random.default_rng(3)
    image = rng.normal(0, 0.2, (3, *SHAPE)) + 2.5 * lesion + (np.arange(SHAPE[2]) > 35)
    image[..., :8], image[:, :, :5], image[:, -2:] = 0, 0, 0
    like = rotated(SHAPE)
    write_case(tmp_path / "in", "oblique", image, like)
    return tmp_path / "in", like, lesion


@pytest.fixture(scope="module")
def transposed(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A model whose plans put another axis first."""
    return make_model(tmp_path_factory.mktemp("t") / "model", folds=1, steps=50, transpose=(2, 0, 1))


def same_geometry(image: sitk.Image, like: sitk.Image) -> bool:
    pairs = [(f(image), f(like)) for f in (sitk.Image.GetSpacing, sitk.Image.GetOrigin, sitk.Image.GetDirection)]
    return image.GetSize() == like.GetSize() and all(np.allclose(a, b, atol=1e-5) for a, b in pairs)


def centroid(image: sitk.Image) -> np.ndarray:
    """Centre of mass in patient coordinates."""
    weights = sitk.GetArrayFromImage(image)
    index = np.array([np.average(axis, weights=weights) for axis in np.indices(weights.shape)])
    return np.array(image.TransformContinuousIndexToPhysicalPoint(index[::-1].tolist()))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("transpose", [(0, 1, 2), (2, 0, 1)])
def test_heatmap_has_the_images_header_and_lies_on_the_ball(
    predict: Predict,
    model: Model,
    transposed: Model,
    tmp_path: Path,
    oblique: tuple[Path, sitk.Image, np.ndarray],
    reader: str,
    transpose: tuple[int, int, int],
) -> None:
    source, like, lesion = oblique
    trained = shutil.copytree((model if transpose == (0, 1, 2) else transposed).folder, tmp_path / "model")
    plans = json.loads((trained / "plans.json").read_text())
    assert tuple(plans["transpose_forward"]) == transpose
    (trained / "plans.json").write_text(json.dumps({**plans, "image_reader_writer": reader}))
    assert not predict(source, trained=trained, heatmaps=True).failed
    truth = sitk.GetImageFromArray(lesion.astype(np.float32))
    truth.CopyInformation(like)
    heatmap = sitk.ReadImage(str(tmp_path / "out" / "heatmaps" / "csPCa" / "oblique.nii.gz"))
    mask = sitk.ReadImage(str(tmp_path / "out" / "oblique.nii.gz"))
    assert same_geometry(heatmap, like)
    assert same_geometry(mask, like)
    values = sitk.GetArrayFromImage(heatmap)
    assert values[lesion].mean() > 0.6
    assert values[~lesion].mean() < 0.15
    assert np.linalg.norm(centroid(sitk.Cast(heatmap > 0.5, sitk.sitkFloat32)) - centroid(truth)) < 2.0
    # Outside of the crop nothing was seen: no evidence, and not the 0.5 that a logit of 0 would be.
    assert not values[..., :8].any()
    assert not values[:, :5].any()
    assert not values[-2:].any()


def test_a_reader_without_geometry_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="keeps no geometry"):
        image_like(np.zeros(PATCH), {"spacing": (1, 1, 1)})
