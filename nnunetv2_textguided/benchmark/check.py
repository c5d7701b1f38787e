"""What a user asks for, checked against what there is, before anything is trained."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from nnunetv2_textguided.benchmark.study import Study
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.files import read_json, visible
from nnunetv2_textguided.nnunet.datasets import dataset_name
from nnunetv2_textguided.nnunet.folders import PREPROCESSED, REFERENCES, RESULTS, required_path
from nnunetv2_textguided.nnunet.labels import trainable_labels
from nnunetv2_textguided.nnunet.plans import merged_configuration
from nnunetv2_textguided.nnunet.splits import SPLITS, check_folds, read_splits
from nnunetv2_textguided.nnunet.trainers import imported_trainers, stock_lookup
from nnunetv2_textguided.nnunet.variant import read_model


def check_study(
    dataset: str,
    configuration: str,
    trainers: Sequence[str],
    plans: Sequence[str],
    folds: Sequence[int],
    models: Sequence[str] = (),
) -> Study:
    """The study, if all of it exists: every trainer under every plans name, or the models TRAINER__PLANS.

    Raises:
        DataError: an unknown data set, trainer, plans, configuration or fold; preprocessed data that are missing.
    """
    name = dataset_name(dataset, PREPROCESSED, RESULTS)
    folder = required_path(PREPROCESSED) / name
    if not folder.is_dir():
        raise DataError(
            "The data set is not preprocessed.",
            where=folder,
            remedy=f"Run `nnUNetv2_plan_and_preprocess -d {dataset}` first.",
        )
    if models:
        study = Study.of_models(name, [read_model(word, configuration) for word in models], _unique(folds))
    else:
        study = Study(name, configuration, _unique(trainers), _unique(plans), _unique(folds))
    for trainer in study.trainers:
        _check_trainer(trainer)
    trainable_labels(read_json(folder / "dataset.json", error=DataError), folder / "dataset.json")
    _check_folds(study, folder)
    for each in study.plans:
        _check_plans(study, each, folder)
    return study


def validation_cases(study: Study) -> dict[int, tuple[str, ...]]:
    """The validation cases of every fold of the data set.

    Raises:
        DataError: the file of folds is missing or damaged.
    """
    path = required_path(PREPROCESSED) / study.dataset / SPLITS
    return {fold: tuple(part["val"]) for fold, part in enumerate(read_splits(path))}


def _unique(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(values))


def _near(word: str, words: Iterable[str]) -> str:
    """What the user may have meant, else everything there is."""
    names = sorted(words)
    near = difflib.get_close_matches(word, names, 4, 0.6)
    return f"Did you mean {', '.join(near)}?" if near else f"There are: {', '.join(names) or 'none'}."


def _check_trainer(trainer: str) -> None:
    try:
        stock_lookup(trainer)
    except RuntimeError as error:
        if "Could not find" not in str(error):
            raise
        # nnU-Net has just imported every trainer that there is.
        remedy = f"{_near(trainer, imported_trainers())} A trainer elsewhere: name its folder in "
        raise DataError(
            f"nnU-Net finds no trainer {trainer!r}.", where="--trainers", remedy=f"{remedy}nnUNet_extTrainer."
        ) from error
    except AssertionError as error:  # nnU-Net's way to say that the class found is no trainer
        raise DataError(f"{trainer!r} is no nnU-Net trainer: {error}.", where="--trainers") from error


def _check_folds(study: Study, folder: Path) -> None:
    path = folder / SPLITS
    # Where there are none, nnU-Net will make five.
    count = len(read_splits(path)) if path.is_file() else 5
    wrong = [fold for fold in study.folds if not 0 <= fold < count]
    if wrong or not study.folds:
        raise DataError(
            f"There is no fold {wrong[0] if wrong else ''}: the data set has folds 0 to {count - 1}.",
            where=f"--folds; {path}",
            remedy="nnU-Net would train on a random split instead, which compares with nothing.",
        )


def _check_plans(study: Study, plans: str, folder: Path) -> None:
    path = folder / f"{plans}.json"
    if not path.is_file():
        there = [p.stem for p in visible(folder, "*.json") if '"configurations"' in p.read_text(encoding="utf-8")]
        raise DataError(f"There are no plans {plans!r}.", where=f"--plans; {folder}", remedy=_near(plans, there))
    content = read_json(path, error=DataError)
    if study.configuration not in content.get("configurations", {}):
        raise DataError(
            f"The plans have no configuration {study.configuration!r}.",
            where=f"-c; {path}",
            remedy=_near(study.configuration, content.get("configurations", {})),
        )
    identifier = merged_configuration(content, study.configuration)["data_identifier"]
    # A configuration that inherits from another uses its data.
    owners = [name for name, own in content["configurations"].items() if own.get("data_identifier") == identifier]
    remedy = f"Run `nnUNetv2_preprocess -d {study.dataset} -plans_name {plans} -c {' '.join(owners)}`."
    _check_data(study, folder, folder / identifier, remedy)


def _check_data(study: Study, folder: Path, data: Path, remedy: str) -> None:
    there = {path.stem for path in visible(data, "*.pkl")}
    if not there:
        raise DataError("There are no preprocessed data.", where=data, remedy=remedy)
    if (folder / SPLITS).is_file():
        splits = read_splits(folder / SPLITS)
        needed = {case for fold in study.folds for part in splits[fold].values() for case in part}
        missing = {case for case in needed - there if not any(case.startswith(f"{known}.") for known in there)}
        check_folds(folder / SPLITS, there | missing, study.folds)
        if missing:
            what = f"{len(missing)} of {len(needed)} cases are not preprocessed: {', '.join(sorted(missing)[:5])}"
            raise DataError(
                f"{what}{' ...' if len(missing) > 5 else '.'}",
                where=f"{data}; {folder / SPLITS}",
                remedy=f"{remedy} Cases that the data set does not have have to be taken out of the folds.",
            )
    if not (folder / REFERENCES).is_dir():
        raise DataError("The reference segmentations are missing.", where=folder / REFERENCES, remedy=remedy)
