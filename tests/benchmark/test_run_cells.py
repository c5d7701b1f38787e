"""What is left to do is read from the files of a fold, of which a kill may have left halves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from nnunetv2_textguided.benchmark.cells import (
    Step,
    command,
    command_line,
    next_step,
    set_damaged_aside,
    validation_dice,
)
from nnunetv2_textguided.benchmark.progress import ProgressReader
from nnunetv2_textguided.benchmark.study import Cell, Variant

CASES = ("case_0", "case_1")
CELL = Cell(Variant("nnUNetTrainer", "nnUNetPlans", "3d_fullres"), 3)


def save(path: Path, *, share: float = 1.0) -> None:
    """A checkpoint, or the first part of one."""
    torch.save({"weights": torch.zeros(1000)}, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def summarise(folder: Path, cases: int, share: float = 1.0) -> None:
    (folder / "validation").mkdir(exist_ok=True)
    text = json.dumps({"metric_per_case": [{}] * cases, "foreground_mean": {"Dice": 0.1}})
    (folder / "validation" / "summary.json").write_text(text[: int(share * len(text))])


def test_steps_follow_each_other(tmp_path: Path) -> None:
    assert next_step(tmp_path / "missing", CASES) is Step.TRAIN
    assert next_step(tmp_path, CASES) is Step.TRAIN
    save(tmp_path / "checkpoint_best.pth")
    assert next_step(tmp_path, CASES) is Step.CONTINUE
    save(tmp_path / "checkpoint_final.pth")
    assert next_step(tmp_path, CASES) is Step.VALIDATE
    assert validation_dice(tmp_path) is None
    summarise(tmp_path, 2)
    assert next_step(tmp_path, CASES) is Step.NOTHING
    assert validation_dice(tmp_path) == 0.1


@pytest.mark.parametrize(("cases", "share"), [(2, 0.9), (1, 1.0), (0, 0.0)])
def test_a_validation_that_is_not_whole_is_repeated(tmp_path: Path, cases: int, share: float) -> None:
    save(tmp_path / "checkpoint_final.pth")
    summarise(tmp_path, cases, share)
    assert next_step(tmp_path, CASES) is Step.VALIDATE


def test_half_a_checkpoint_does_not_count_and_is_set_aside(tmp_path: Path) -> None:
    save(tmp_path / "checkpoint_final.pth", share=0.7)
    save(tmp_path / "checkpoint_latest.pth", share=0.5)
    assert next_step(tmp_path, CASES) is Step.TRAIN
    save(tmp_path / "checkpoint_best.pth")
    assert next_step(tmp_path, CASES) is Step.CONTINUE
    assert len(set_damaged_aside(tmp_path)) == 2
    # What nnU-Net's --c looks for, in its order, is now the whole one.
    assert [p.name for p in tmp_path.glob("*.pth")] == ["checkpoint_best.pth"]
    assert set_damaged_aside(tmp_path) == []


def test_commands_are_those_that_a_user_types() -> None:
    line = command_line(command(CELL, "Dataset001_X", Step.CONTINUE, "cuda"))
    assert line == "nnUNetv2_train Dataset001_X 3d_fullres 3 -tr nnUNetTrainer -p nnUNetPlans -device cuda --npz --c"
    assert command(CELL, "Dataset001_X", Step.VALIDATE, "cpu")[-2:] == ["--npz", "--val"]
    assert command(CELL, "Dataset001_X", Step.TRAIN, "cpu")[-1] == "--npz"


FIRST = """
2026-11-25 04:00:00.000000: Epoch 0
2026-11-25 04:00:09.000000: Pseudo dice [np.float32(0.5), np.float32(0.3)]
2026-11-25 04:00:09.500000: Epoch time: 9.5 s
2026-11-25 04:00:10.000000: Epoch 1
2026-11-25 04:00:19.000000: Pseudo dice [np.float32(nan), np.float32(0.8)]
2026-11-25 04:00:19.500000: Epoch time: 7.5 s
2026-11-25 04:00:20.000000: Epoch 2
"""
# Continued from a checkpoint after epoch 0, by a version of numpy that prints numbers plainly.
SECOND = """
2026-11-25 10:00:00.000000: Epoch 1
2026-11-25 10:00:09.000000: Pseudo dice [0.2, 1e-05]
2026-11-25 10:00:09.500000: Epoch time: 8.5 s
2026-11-25 10:01:00.000000: predicting case_0
2026-11-25 10:01:02.000000: predicting case_1
2026-11-25 10:01:05.000000: Validation complete
"""


def test_progress_is_read_from_the_logs_of_all_resumptions(tmp_path: Path) -> None:
    reader = ProgressReader()
    assert (reader.read(tmp_path).epochs, reader.read(tmp_path).ema_dice) == (0, None)
    (tmp_path / "training_log_2026_9_25_04_00_00.txt").write_text(FIRST)
    progress = reader.read(tmp_path)
    assert progress.epochs == 2
    assert progress.ema_dice == pytest.approx(0.9 * 0.4 + 0.1 * 0.8)
    # Sorted by time, not by name: nnU-Net does not pad the month.
    (tmp_path / "training_log_2026_11_25_10_00_00.txt").write_text(SECOND)
    progress = reader.read(tmp_path)
    assert progress.epochs == 2
    assert progress.ema_dice == pytest.approx(0.9 * 0.4 + 0.1 * 0.100005)
    assert progress.seconds_per_epoch == pytest.approx(9.0)
    assert progress.seconds_per_case == pytest.approx(2.5)
    assert progress.predicted == 2
