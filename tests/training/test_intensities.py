"""What a training leaves in the model folder about its images is what prediction compares with."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunetv2_textguided.imaging.intensities import LEVELS, LOGGED
from nnunetv2_textguided.inference.training_range import read_training_range
from nnunetv2_textguided.training import nnUNetTrainerAlignRefine
from nnunetv2_textguided.training.intensities import MOST_CASES, write_training_intensities
from nnunetv2_textguided.training.logbook import Logbook

RNG = np.random.default_rng(0)


class Data:
    """Stands for nnU-Net's data set: cases by identifier."""

    def __init__(self, cases: dict[str, np.ndarray]) -> None:
        self.identifiers, self.cases, self.read = list(cases), cases, 0

    def load_case(self, case: str) -> tuple[Any, ...]:
        self.read += 1
        return self.cases[case], None, None, {}


def image(shift: float = 0.0, channels: int = 2) -> np.ndarray:
    return RNG.normal(shift, 1, (channels, 8, 20, 20)).astype(np.float32)


def test_cases_of_the_training_are_like_it_and_another_kind_is_not(tmp_path: Path) -> None:
    (tmp_path / "fold_0").mkdir()
    write_training_intensities(Data({f"c{i}": image() for i in range(12)}), tmp_path / "fold_0")
    known = read_training_range(tmp_path, (0,), ("T2W", "ADC"))
    assert known.intensities is not None
    assert known.intensities.shape == (2, len(LEVELS), 2)
    like = known.compare(image(), (3, 1, 1), (8, 20, 20))
    assert like.verdict == "no (geometry unknown)"
    other = image()
    other[1] = 1000 * RNG.random((8, 20, 20))  # another unit
    unlike = known.compare(other, (3, 1, 1), (8, 20, 20))
    assert unlike.unlike == ("intensities of ADC",)
    assert unlike.distance is not None
    assert unlike.distance > 100


def test_two_folds_together_know_what_either_knows_and_one_without_file_makes_it_unknown(tmp_path: Path) -> None:
    for fold, shift in ((0, 0.0), (1, 5.0)):
        (tmp_path / f"fold_{fold}").mkdir()
        write_training_intensities(Data({f"c{i}": image(shift) for i in range(6)}), tmp_path / f"fold_{fold}")
    case = image(5.0)
    assert read_training_range(tmp_path, (0,), ("a", "b")).compare(case, (1, 1, 1), (8, 20, 20)).unlike
    assert not read_training_range(tmp_path, (0, 1), ("a", "b")).compare(case, (1, 1, 1), (8, 20, 20)).unlike
    assert read_training_range(tmp_path, (0, 2), ("a", "b")).compare(case, (1, 1, 1), (8, 20, 20)).distance is None


def test_large_data_sets_are_sampled(tmp_path: Path) -> None:
    one = image()
    data = Data({f"c{i:04d}": one for i in range(3 * MOST_CASES + 1)})
    write_training_intensities(data, tmp_path)
    assert MOST_CASES // 2 < data.read <= MOST_CASES


def test_a_training_s_end_leaves_the_file_beside_its_checkpoint(tmp_path: Path, monkeypatch: Any) -> None:
    """On nnU-Net's own preprocessed files; the training itself is covered by test_end_to_end."""
    folder = tmp_path / "preprocessed"
    folder.mkdir()
    for number in range(3):
        data, seg = image(), np.zeros((1, 8, 20, 20), np.int16)
        nnUNetDatasetBlosc2.save_case(data, seg, {"spacing": [3, 1, 1]}, str(folder / f"c{number}"))
    monkeypatch.setattr(nnUNetTrainer, "on_train_end", lambda self: None)
    dataset = nnUNetDatasetBlosc2(str(folder), [f"c{number}" for number in range(3)])
    trainer = nnUNetTrainerAlignRefine.__new__(nnUNetTrainerAlignRefine)
    trainer.local_rank, trainer.output_folder = 0, str(tmp_path / "fold_0")
    monkeypatch.setattr(trainer, "get_tr_and_val_datasets", lambda: (dataset, None), raising=False)
    log: dict[str, Any] = {}
    logger = SimpleNamespace(local_logger=SimpleNamespace(my_fantastic_logging=log))
    trainer.logbook = Logbook(logger)
    trainer.on_train_end()
    known = read_training_range(tmp_path, (0,), ("T2W", "ADC"))
    assert known.compare(image(), (3, 1, 1), (8, 20, 20)).unlike == ()
    # The last checkpoint holds the log: the same is known of a model whose files nnU-Net's export left out.
    elsewhere = tmp_path / "installed"
    installed = read_training_range(elsewhere, (0,), ("T2W", "ADC"), {0: log[LOGGED]})
    assert installed.intensities is not None
    assert known.intensities is not None
    assert np.array_equal(installed.intensities, known.intensities)
    assert read_training_range(elsewhere, (0, 1), ("T2W", "ADC"), {0: log[LOGGED]}).intensities is None
