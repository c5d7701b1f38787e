"""Checking the folds of a data set: leakage, unknown cases, empty parts, cases in no fold."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.evaluation.cases import owner_of
from nnunetv2_textguided.nnunet.splits import PARTS, SPLITS, Splits, fold_problems, read_splits
from nnunetv2_textguided.picai.folds import leaks
from nnunetv2_textguided.picai.problems import Problem, error, warning

_FOLDS = "Correct the folds, or delete the file: nnU-Net then makes new ones."


def check_folds(
    folder: Path,
    preprocessed: Path | None,
    cases: set[str],
    patients: dict[str, str],
    again: str,
    text_only: set[str],
) -> list[Problem]:
    """Findings about every splits_final.json of a data set, or that there is none.

    Args:
        folder: the raw data set.
        preprocessed: nnUNet_preprocessed, where it is known.
        cases, patients, again, text_only: as of `check_split_file`.
    """
    places = [folder / SPLITS] + ([preprocessed / folder.name / SPLITS] if preprocessed else [])
    there = [path for path in places if path.is_file()]
    if not there:
        return [warning("No folds: nnU-Net will split at random, and may split a patient.", places[0])]
    return [problem for path in there for problem in check_split_file(path, cases, patients, again, text_only)]


def check_split_file(
    path: Path,
    cases: set[str],
    patients: dict[str, str] | None = None,
    again: str = "",
    text_only: Collection[str] = (),
) -> list[Problem]:
    """Findings about one splits_final.json: leakage, unknown cases, empty parts, cases in no fold.

    Args:
        path: the file.
        cases: the cases of the data set.
        patients: case -> patient; by default, identifiers <patient>_<study> of two numbers name their patient.
        again: what to do about folds that name unknown cases.
        text_only: cases without an outline, which no fold can validate.
    """
    try:
        splits = read_splits(path)
    except DataError as problem:
        return [error(problem.what, problem.where or path, again or _FOLDS)]
    separate = "Use the official folds." if again else "Put all cases of a patient into the same part."
    found = [error(f"Leakage: {text}.", path, separate) for text in leaks(splits, patients or _patients(splits))]
    for number, fold in enumerate(splits):
        # Empty parts are told below.
        problems = fold_problems(fold, cases) if fold["train"] else []
        found += [error(f"Fold {number} {what}.", path, again or remedy) for what, remedy in problems]
        if blind := sorted(set(fold["val"]) & set(text_only)):
            what = f"Fold {number} validates {len(blind)} cases without an outline, for example {blind[0]}."
            found.append(error(what, path, "Let folds validate annotated cases only."))
    named = {case for fold in splits for part in PARTS for case in fold[part]}
    if cases - named:
        what = f"{len(cases - named)} cases are in no fold, for example {min(cases - named)}: no fold trains on them."
        found.append(warning(what, path))
    for number, fold in enumerate(splits):
        for part in ("train", "val"):
            if not fold[part]:
                found.append(
                    warning(f"Fold {number} has no {part} case: it cannot be trained with `-f {number}`.", path)
                )
    return found


def _patients(splits: Splits) -> dict[str, str]:
    return {case: owner_of(case) for fold in splits for part in fold.values() for case in part}
