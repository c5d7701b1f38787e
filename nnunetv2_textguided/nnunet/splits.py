"""nnU-Net's splits_final.json: one reader, one check of a fold against the cases that there are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from nnunetv2_textguided.errors import DataError, TextGuidedError
from nnunetv2_textguided.files import read_json, write_json

SPLITS = "splits_final.json"
PARTS = ("train", "val")
Splits = list[dict[str, list[str]]]


def read_splits(path: Path, error: type[TextGuidedError] = DataError) -> Splits:
    """The folds of a file.

    Raises:
        TextGuidedError: of class `error`: the file is missing, damaged, or holds something else.
    """
    splits = read_json(path, error=error, marked=False)
    whole = isinstance(splits, list) and all(
        isinstance(fold, dict)
        and all(isinstance(fold.get(part), list) and all(isinstance(c, str) for c in fold[part]) for part in PARTS)
        for fold in splits
    )
    if not whole or not splits:
        raise error(
            'The file does not hold folds: it is not a list of {"train": [...], "val": [...]}.',
            where=path,
            remedy="Correct it, or delete it: nnU-Net then makes five folds.",
        )
    return splits  # type: ignore[no-any-return]


def write_splits(path: Path, cases: Sequence[str]) -> None:
    """Write nnU-Net's own five folds of sorted cases, the same in every process, whole or not at all."""
    from nnunetv2.utilities.crossval_split import generate_crossval_split  # it brings scikit-learn with it

    splits = generate_crossval_split(list(cases), seed=12345, n_splits=5)
    write_json(path, [{part: list(map(str, keys)) for part, keys in split.items()} for split in splits])


def restrict(splits: Splits, cases: Collection[str]) -> Splits:
    """The folds without the cases that are not in `cases`: nnU-Net stops at a case that it cannot find."""
    kept = set(cases)
    return [{part: [c for c in fold[part] if c in kept] for part in PARTS} for fold in splits]


def with_further(splits: Splits, further: Collection[str], patient: Callable[[str], str]) -> Splits:
    """Folds that also learn from cases nobody outlined.

    Args:
        splits: folds of the outlined cases, which alone are validated.
        further: the other cases; a fold learns from those whose patient it does not validate.
        patient: whose a case is.
    """
    made = []
    for fold in splits:
        validated = {patient(case) for case in fold["val"]}
        learned = [case for case in further if patient(case) not in validated]
        made.append({"train": sorted([*fold["train"], *learned]), "val": sorted(fold["val"])})
    return made


def fold_problems(
    fold: Mapping[str, Sequence[str]], cases: Collection[str], may_overlap: bool = False
) -> list[tuple[str, str]]:
    """What is wrong with a fold: pairs of problem and remedy.

    Args:
        fold: its "train" and "val" cases.
        cases: identifiers of the cases that there are.
        may_overlap: whether a case may both be trained on and validate.
    """
    found = []
    named = [case for part in PARTS for case in fold[part]]
    unknown = sorted(set(named) - set(cases))
    files = [name for name in unknown if any(name.startswith(f"{case}.") for case in cases)]
    if files:
        found.append((f"names {_some(files)}", "A fold holds identifiers of cases, without file ending and channel."))
    absent = [name for name in unknown if name not in files]
    if absent:
        found.append(
            (
                f"names {_some(absent)}, which the data set does not have",
                f"Take them out of the folds, or add and preprocess these cases. The data set has {_some(cases)}.",
            )
        )
    both = sorted(set(fold["train"]) & set(fold["val"]))
    if both and not may_overlap:
        found.append((f"trains and validates {_some(both)}", "Keep each case in one of the two parts."))
    if len(named) > len(set(named)) + len(both):
        twice = sorted({case for part in PARTS for case in fold[part] if list(fold[part]).count(case) > 1})
        if twice:
            found.append((f"names {_some(twice)} twice", "Name each case once."))
    if not fold["train"]:
        found.append(("has no training cases", "Give it some, or delete the file: nnU-Net then makes five folds."))
    return found


def check_folds(
    path: Path,
    cases: Collection[str],
    folds: Collection[int] | None = None,
    error: type[TextGuidedError] = DataError,
    *,
    may_overlap: bool = False,
) -> Splits:
    """The folds of a file, if they fit the data set.

    Args:
        path: splits_final.json.
        cases: identifiers of the cases that there are.
        folds: those that are used; None: all.
        error: class of what is raised.
        may_overlap: whether a case may both be trained on and validate.

    Raises:
        TextGuidedError: of class `error`: the file holds no folds, or a fold names cases that there are not, or uses
            one for both training and validation though it may not.
    """
    splits = read_splits(path, error)
    for number, fold in enumerate(splits):
        problems = fold_problems(fold, cases, may_overlap) if folds is None or number in folds else []
        if problems:
            what = "; it ".join(problem for problem, _ in problems)
            raise error(
                f"Fold {number} {what}.", where=path, remedy=" ".join(dict.fromkeys(remedy for _, remedy in problems))
            )
    return splits


def _some(names: Collection[str]) -> str:
    shown = sorted(names)[:5]
    rest = len(names) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")
