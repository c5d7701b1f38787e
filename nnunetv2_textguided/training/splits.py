"""A fold's cases: from a splits_final.json that folds which start at the same second cannot read half of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nnunetv2_textguided.errors import TrainingError
from nnunetv2_textguided.nnunet.folders import REFERENCES
from nnunetv2_textguided.nnunet.preprocessed import dataset_class
from nnunetv2_textguided.nnunet.splits import SPLITS, check_folds, write_splits


def ensure_splits(configuration_folder: str, fold: int) -> None:
    """Check a fold of a data set, or make nnU-Net's own folds.

    Args:
        configuration_folder: the folder of one configuration's cases, in the data set's folder in nnUNet_preprocessed.
        fold: the fold.

    Raises:
        TrainingError: file or fold are not valid, or there are too few cases for five folds.
    """
    path = Path(configuration_folder).parent / SPLITS
    cases = sorted(dataset_class(configuration_folder).get_identifiers(configuration_folder))
    if path.is_file():
        # A case in both parts is the user's choice here, as in nnU-Net, whose log then has a warning.
        check_folds(path, cases, {fold}, TrainingError, may_overlap=True)
    elif len(cases) < 5:
        raise TrainingError(
            f"The data set has {len(cases)} cases, too few for nnU-Net's five folds.",
            where=configuration_folder,
            remedy=f"Train fold 'all', or write the folds that you want to {path}.",
        )
    else:
        write_splits(path, cases)


def check_references(dataset_folder: str, cases: Sequence[str], ending: str) -> None:
    """Check that the validation at the end of a training will find what it compares its predictions with.

    Args:
        dataset_folder: the data set's folder in nnUNet_preprocessed.
        cases: those that the fold validates.
        ending: of image files.

    Raises:
        TrainingError: the reference of a case is missing.
    """
    folder = Path(dataset_folder) / REFERENCES
    missing = sorted(case for case in cases if not (folder / f"{case}{ending}").is_file())
    if missing:
        raise TrainingError(
            f"The references of {len(missing)} validation cases are missing, for example {missing[0]}{ending}: the "
            "validation after the training would fail.",
            where=folder,
            remedy="Run nnUNetv2_preprocess again to its end, or copy the raw data set's labelsTr to this folder.",
        )


def check_fold(cases: tuple[list[str], list[str]], fold: int | str) -> tuple[list[str], list[str]]:
    """A fold's training and validation cases, once they are known to be some.

    Raises:
        TrainingError: there is no training case.
    """
    if not cases[0]:
        raise TrainingError("The fold has no training cases.", where=f"{SPLITS}, fold {fold}")
    return cases
