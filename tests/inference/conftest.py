"""One tiny trained model for all tests of prediction, and stock predictions to compare with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nnunetv2_textguided.files import shipped
from nnunetv2_textguided.inference.options import ModelOptions, OutputOptions, WorkOptions
from nnunetv2_textguided.inference.run import Summary, predict_folder
from tests.inference.models import Model, make_model, scene, write_case

HERE = WorkOptions(preprocessing=0, export=0)


@pytest.fixture(autouse=True)
def _uninstalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite may run uninstalled: name the trainer folder as the start-up file does. One thread is enough."""
    monkeypatch.setenv("nnUNet_extTrainer", str(shipped("trainers")))
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Two folds that have learned to see bright balls; the refiner changes logits."""
    torch.set_num_threads(1)
    return make_model(tmp_path_factory.mktemp("model") / "model", steps=50)


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cases: ball_0 with one bright ball, none_1 without."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(7)
    for index, balls in enumerate((1, 0)):
        write_case(folder, f"{('ball', 'none')[index]}_{index}", scene(rng, (9, 32, 36), balls)[0])
    return folder


@pytest.fixture
def predict(model: Model, images: Path, tmp_path: Path) -> Callable[..., Summary]:
    """predict_folder on the tiny model, in this process; into `<tmp_path>/out` unless told otherwise."""

    def run(
        source: Path = images,
        *,
        folder: Path | None = None,
        trained: Path = model.folder,
        folds: tuple[int, ...] = (0,),
        mirroring: bool = False,
        work: WorkOptions = HERE,
        model_options: dict | None = None,
        **output: object,
    ) -> Summary:
        options = ModelOptions(trained, folds, mirroring=mirroring, **(model_options or {}))
        wanted = OutputOptions(folder or tmp_path / "out", **{"candidates": "mask", **output})  # type: ignore[arg-type]
        return predict_folder(source, options, wanted, work)

    return run


@pytest.fixture
def validated(model: Model, tmp_path: Path) -> tuple[Path, Path, Path]:
    """A model folder with validation predictions of 60 cases in two folds, references, and case text.

    The image shows half of the diseased cases; PSA is high in all of them.
    """
    folder, labels = tmp_path / "Dataset902_Tiny" / "trainer__plans__3d_fullres", tmp_path / "labels"
    shutil.copytree(model.folder, folder)
    labels.mkdir()
    random, texts = np.random.default_rng(0), {}
    for number in range(60):
        case, sick = f"case_{number:02d}", number % 2 == 0
        mask = np.zeros((6, 16, 16), dtype=np.uint8)
        if sick:
            mask[2:4, 4:8, 4:8] = 1
        sitk.WriteImage(sitk.GetImageFromArray(mask), str(labels / f"{case}.nii.gz"))
        probability = np.full(mask.shape, 0.01, dtype=np.float32)
        peak = (0.5 + 0.4 * random.random()) if sick and number % 4 == 0 else 0.4 * random.random()
        probability[2:4, 4:8, 4:8] = peak
        target = folder / f"fold_{number // 30}" / "validation"
        target.mkdir(exist_ok=True)
        np.savez(target / f"{case}.npz", probabilities=np.stack([1 - probability, probability]))
        psa = float(np.exp(random.normal() * 0.3 + (2.8 if sick else 1.8)))
        texts[case] = {"clinical": {"psa_ng_per_ml": psa, "age_years": 65.0, "prostate_volume_ml": 50.0}}
    text = tmp_path / "case_text.json"
    text.write_text(json.dumps(texts))
    return folder, labels, text


def read(path: Path) -> np.ndarray:
    """Values (z, y, x) of an image file."""
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def stock_predict(model: Path, images: Path, out: Path, folds: tuple[int, ...], mirroring: bool) -> None:
    """What nnUNetv2_predict does with -npp 0 -nps 0, without importing all trainers in another process."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    out.mkdir(parents=True)
    predictor = nnUNetPredictor(use_mirroring=mirroring, device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(model), folds)
    predictor.predict_from_files_sequential(str(images), str(out))
