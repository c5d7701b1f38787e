"""What heatmaps cost at prediction: the whole of it against stock nnU-Net's prediction, in turns within one run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nnunetv2_textguided.files import shipped
from nnunetv2_textguided.inference.options import ModelOptions, OutputOptions, WorkOptions
from nnunetv2_textguided.inference.run import predict_folder
from tests.inference.conftest import stock_predict
from tests.inference.models import make_model, write_case
from tests.performance.pairs import compare

# PI-CAI's patch on a case of eight windows, with a quarter of the features, no mirroring and one fold: the network's
# share is at least a hundred times smaller than in practice, and the export's the same.
PATCH, SHAPE, FEATURES = (14, 256, 224), (20, 320, 320), (8, 16, 32, 64, 80, 80)
LIMIT = 1.15
PAIRS = 3


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A model folder and an image folder with one case of PI-CAI's proportions."""
    monkeypatch.setenv("nnUNet_extTrainer", str(shipped("trainers")))
    torch.set_num_threads(1)
    spacing = (3.0, 0.5, 0.5)
    model = make_model(tmp_path / "model", folds=1, patch=PATCH, features=FEATURES, spacing=spacing)
    image = np.random.default_rng(0).normal(size=(3, *SHAPE))
    write_case(tmp_path / "in", "case", image, spacing=spacing)
    return model.folder, tmp_path / "in"


@pytest.mark.timeout(3600)
def test_heatmaps_cost_at_most_fifteen_percent_of_a_prediction(
    benchmark: Any, case: tuple[Path, Path], tmp_path: Path
) -> None:
    if benchmark.disabled:
        pytest.skip("measures time: `make bench`")
    model, images = case

    def stock() -> None:
        stock_predict(model, images, tmp_path / f"stock_{time.monotonic_ns()}", (0,), mirroring=False)

    def ours() -> None:
        output = OutputOptions(tmp_path / f"ours_{time.monotonic_ns()}", heatmaps=True, candidates="none")
        assert not predict_folder(images, ModelOptions(model, (0,), mirroring=False), output, WorkOptions(0, 0)).failed

    name = "Prediction of a case with heatmaps : stock nnU-Net's prediction"
    ratio = compare(benchmark, ours, stock, PAIRS, goal=None, name=name, limit=LIMIT)
    assert not ratio.missed, benchmark.extra_info["processor"]
