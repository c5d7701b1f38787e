"""nnU-Net's splits_final.json: made so that folds which start at the same second cannot read half of it."""

from __future__ import annotations

from pathlib import Path

from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from nnunetv2.utilities.crossval_split import generate_crossval_split

from nnunetv2_textguided.errors import TrainingError
from nnunetv2_textguided.files import read_json, write_json


def ensure_splits(dataset_folder: str | Path, configuration_folder: str) -> None:
    """Check a data set's splits, or make nnU-Net's own, the same in every process.

    Args:
        dataset_folder: the data set's folder in nnUNet_preprocessed.
        configuration_folder: the folder of one configuration's cases in it.

    Raises:
        TrainingError: the file is not valid, or there are too few cases for five folds.
    """
    path = Path(dataset_folder) / "splits_final.json"
    if path.is_file():
        check_splits(path)
        return
    cases = sorted(infer_dataset_class(configuration_folder).get_identifiers(configuration_folder))
    if len(cases) < 5:
        raise TrainingError(
            f"The data set has {len(cases)} cases, too few for nnU-Net's five folds.",
            where=configuration_folder,
            remedy=f"Train fold 'all', or write the folds that you want to {path}.",
        )
    splits = generate_crossval_split(cases, seed=12345, n_splits=5)
    write_json(path, [{part: list(map(str, keys)) for part, keys in split.items()} for split in splits])


def check_fold(cases: tuple[list[str], list[str]], fold: int | str) -> tuple[list[str], list[str]]:
    """A fold's training and validation cases, once they are known to be some.

    Raises:
        TrainingError: there is no training case.
    """
    if not cases[0]:
        raise TrainingError("The fold has no training cases.", where=f"splits_final.json, fold {fold}")
    return cases


def check_splits(path: Path) -> None:
    """Check that a file holds folds.

    Raises:
        TrainingError: it does not.
    """
    splits = read_json(path, error=TrainingError)
    whole = isinstance(splits, list) and all(
        isinstance(split, dict) and all(isinstance(split.get(part), list) for part in ("train", "val"))
        for split in splits
    )
    if not whole:
        raise TrainingError(
            "The file does not hold folds.",
            where=path,
            remedy='Expected [{"train": [cases], "val": [cases]}, ...]. nnU-Net makes a new one if it is deleted.',
        )
