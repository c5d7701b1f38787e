"""An epoch whose Dice is not defined has one meaning for trainer, progress and report: it does not count."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from nnunetv2_textguided.benchmark.progress import ProgressReader
from nnunetv2_textguided.benchmark.report.curves import read_curves
from nnunetv2_textguided.nnunet.training_log import mean_dice, moving_dice, moving_dices, training_logs

DICE = ("0.6, 0.6", "np.float32(0.7), 0.7", "nan, nan", "0.7, nan", "0.7, 0.7")
AVERAGES = [0.6, 0.61, 0.61, 0.619, 0.6271]


def write_log(folder: Path) -> None:
    lines = []
    for epoch, values in enumerate(DICE):
        stamp = f"2026-01-01 00:00:0{epoch}.000000: "
        told = (f"Epoch {epoch} ", "train_loss 0.1", "val_loss 0.1", f"Pseudo dice [{values}]", "Epoch time: 1.0 s")
        lines += [stamp + line for line in told]
    (folder / "training_log_2026_1_1_00_00_00.txt").write_text("\n".join(lines) + "\n")


def test_the_moving_dice_skips_an_epoch_without_any() -> None:
    values = [mean_dice(text) for text in DICE]
    assert math.isnan(values[2])
    assert values[3] == 0.7
    assert moving_dices(values) == pytest.approx(AVERAGES, abs=1e-12)
    one_by_one: list[float] = []
    for value in values:
        one_by_one.append(moving_dice(one_by_one, value))
    assert one_by_one == moving_dices(values)


@pytest.mark.parametrize("undefined", [1, 3])
def test_it_starts_at_the_first_epoch_that_has_one(undefined: int) -> None:
    averages = moving_dices([math.nan] * undefined + [0.5, 1.0])
    assert all(math.isnan(value) for value in averages[:undefined])
    assert averages[undefined:] == pytest.approx([0.5, 0.55])
    assert moving_dices([]) == []


def test_progress_and_report_show_what_the_trainer_logs(tmp_path: Path) -> None:
    write_log(tmp_path)
    assert ProgressReader().read(tmp_path).ema_dice == pytest.approx(AVERAGES[-1], abs=1e-12)
    curves = read_curves([tmp_path])
    assert curves is not None
    assert curves.values["ema_dice"][0].tolist() == pytest.approx(AVERAGES, abs=1e-12)


def test_logs_are_in_the_order_in_which_they_were_written(tmp_path: Path) -> None:
    names = [f"training_log_2026_{month}_1_00_00_00.txt" for month in (2, 10, 12)]
    for name in reversed(names):
        (tmp_path / name).touch()
    assert [path.name for path in training_logs(tmp_path)] == names
