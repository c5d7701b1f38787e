"""The official, patient-disjoint five folds of the public PI-CAI set."""

from __future__ import annotations

from collections.abc import Mapping

from nnunetv2_textguided.evaluation.cases import patient_of
from nnunetv2_textguided.extras import require
from nnunetv2_textguided.nnunet.splits import Splits

# --folds -> module of picai_baseline.
MODULES = {"1500": "picai_baseline.splits.picai", "1295": "picai_baseline.splits.picai_nnunet"}


def official_folds(version: str) -> Splits:
    """The official folds in nnU-Net's layout: five times {"train": [...], "val": [...]}.

    Args:
        version: "1500" for all studies, "1295" for those that the challenge itself delineated.
    """
    splits = require(MODULES[version]).nnunet_splits
    return [{part: sorted(fold[part]) for part in ("train", "val")} for fold in splits]


def validation_fold(splits: Splits) -> dict[str, int]:
    """Case -> the fold that validates it."""
    return {case: number for number, fold in enumerate(splits) for case in fold["val"]}


def leaks(splits: Splits, patients: Mapping[str, str] | None = None) -> list[str]:
    """Describe every patient on both sides of a fold, and every case validated in more than one fold.

    Args:
        splits: folds in nnU-Net's layout.
        patients: case -> patient; by default the part of the case identifier before the first underscore.
    """
    owner = (lambda case: patients.get(case, patient_of(case))) if patients is not None else patient_of
    found = []
    for number, fold in enumerate(splits):
        training = {owner(case): case for case in fold["train"]}
        for case in fold["val"]:
            if owner(case) in training:
                other = training[owner(case)]
                found.append(f"fold {number}: patient {owner(case)} is in training ({other}) and validation ({case})")
    seen: dict[str, int] = {}
    for number, fold in enumerate(splits):
        for case in fold["val"]:
            if seen.setdefault(case, number) != number:
                found.append(f"case {case} is validated in folds {seen[case]} and {number}")
    return found
