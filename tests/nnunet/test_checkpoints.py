"""No command executes what is in a checkpoint."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from nnunetv2_textguided.errors import DataError, NetworkError, TrainingError
from nnunetv2_textguided.nnunet.checkpoints import read_checkpoint, read_content
from nnunetv2_textguided.planning.checkpoint import read_checkpoint as read_stock_checkpoint
from nnunetv2_textguided.training.continuation import open_checkpoint


class Touch:
    """Unpickling it makes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.target}",)


@pytest.fixture
def executing(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint_final.pth"
    torch.save({"network_weights": {}, "init_args": {}, "note": Touch(tmp_path / "EXECUTED")}, path)
    return path


@pytest.mark.parametrize(
    ("read", "error"),
    [
        (read_checkpoint, DataError),
        (read_content, DataError),
        (open_checkpoint, TrainingError),
        (lambda path: read_stock_checkpoint(path, {}, 3), NetworkError),
    ],
    ids=["checkpoint", "content", "continuation", "conversion"],
)
def test_no_reader_executes_what_it_reads(executing: Path, read: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"system.*could execute code"):
        read(executing)
    assert not (executing.parent / "EXECUTED").exists()
    torch.load(executing, weights_only=False)  # what it would have done
    assert (executing.parent / "EXECUTED").exists()


def test_prediction_refuses_before_nnunet_loads_unless_trusted(executing: Path) -> None:
    from nnunetv2_textguided.inference.predictor import TextGuidedPredictor

    folder = executing.parent
    (folder / "fold_0").mkdir()
    executing.rename(folder / "fold_0" / executing.name)
    for name in ("plans.json", "dataset.json"):
        (folder / name).write_text("{}")
    for folds in ((0,), None):
        with pytest.raises(DataError, match=r"(?s)system.*predict with --trust"):
            TextGuidedPredictor().load(folder, folds, executing.name)
    assert not (folder / "EXECUTED").exists()
    with pytest.raises(Exception):  # noqa: B017, PT011  (nnU-Net's, over the empty plans or checkpoint)
        TextGuidedPredictor().load(folder, (0,), executing.name, trust=True)
