"""A trained model's own validation: what each fold predicted of the cases that it was not trained on."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.evaluation.options import Scoring
from nnunetv2_textguided.evaluation.predictions import find_predictions
from nnunetv2_textguided.evaluation.score import Score, ScoreJob, score_case
from nnunetv2_textguided.files import read_json
from nnunetv2_textguided.imaging.images import find_image
from nnunetv2_textguided.nnunet.folders import PREPROCESSED, REFERENCES, required_path
from nnunetv2_textguided.nnunet.labels import Target
from nnunetv2_textguided.processes.pool import run_jobs


def score_validation(
    model: Path, labels: Path, targets: Sequence[Target], workers: int, chosen: Collection[int] | None = None
) -> tuple[dict[str, int], dict[str, dict[str, Score]]]:
    """Score the validation predictions of a model folder.

    Args:
        model: trained model folder, its folds validated with `--npz`.
        labels: reference segmentations, named by case.
        targets: the classes that are scored.
        workers: processes.
        chosen: folds; None: all that were validated.

    Returns:
        Case -> fold, and case -> class -> score.

    Raises:
        DataError: fewer than two folds were validated, one kept no probabilities, or a case has no reference.
    """
    fold, jobs = _jobs(model, labels, tuple(targets), chosen)
    if len(set(fold.values())) < 2:
        raise DataError(
            "What is fitted is judged across folds: at least two have to be trained and validated.",
            where=model,
            remedy="Train more folds, with --npz.",
        )
    scores: dict[str, dict[str, Score]] = {}
    for result in run_jobs(score_case, jobs, workers=workers):
        if result.error is not None:
            raise result.error
        assert result.value is not None  # a result has a value or an error
        scores[result.job.case] = result.value["model"]
    return fold, scores


def _jobs(
    model: Path, labels: Path, targets: tuple[Target, ...], chosen: Collection[int] | None
) -> tuple[dict[str, int], list[ScoreJob]]:
    """Case -> fold, and what is to be scored."""
    folders = {int(path.parent.name.removeprefix("fold_")): path for path in model.glob("fold_[0-9]*/validation")}
    fold: dict[str, int] = {}
    jobs = []
    for number in sorted(folders if chosen is None else chosen):
        if number not in folders:
            raise DataError(
                f"Fold {number} was not validated.", where=model, remedy="Train it with --npz, or check -f."
            )
        for case, files in find_predictions(folders[number]).items():
            if files.probabilities is None:
                raise DataError(
                    f"The validation of fold {number} kept no probabilities.",
                    where=folders[number],
                    remedy=f"Run nnUNetv2_train ... {number} --val --npz.",
                )
            fold[case] = number
            jobs.append(ScoreJob(case, _reference(labels, case), {"model": files}, targets, Scoring()))
    return fold, jobs


def dataset_of(model: Path) -> str:
    """Name of the data set that a model folder was trained on."""
    return str(read_json(model / "plans.json", error=DataError).get("dataset_name"))


def reference_folder(model: Path) -> Path:
    """Where nnU-Net keeps the reference segmentations of a model's data set.

    Raises:
        DataError: nnU-Net's folder of preprocessed data is not set.
    """
    return required_path(PREPROCESSED, "Set it, or give --labels.") / dataset_of(model) / REFERENCES


def _reference(labels: Path, case: str) -> Path:
    found = find_image(labels, case)
    if found is None:
        raise DataError(f"Case {case} has no reference.", where=labels, remedy="Check --labels.")
    return found
