"""The decision threshold of a trained model: fitted on its own validation, kept beside it, applied to new cases.

The rule is that of evaluation/thresholds.py. The file in the model folder says what was fitted on what.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.evaluation.threshold_comparison import at_thresholds
from nnunetv2_textguided.evaluation.thresholds import THRESHOLDS, stack
from nnunetv2_textguided.files import json_value, read_json, write_json
from nnunetv2_textguided.inference.options import ModelOptions
from nnunetv2_textguided.inference.record import WEIGHTS, check_fitted_with, fitted_with
from nnunetv2_textguided.inference.validated import score_validation
from nnunetv2_textguided.nnunet.labels import Target
from nnunetv2_textguided.software import software_versions

FILE = "thresholds.json"
FORMAT_VERSION = 2
"""Version 1 had digests of files, which export and installation change, in place of those of weights."""
FITTED = "fitted"


def fit_thresholds(
    model: ModelOptions, labels: Path, targets: Sequence[Target], price: float, workers: int
) -> dict[str, Any]:
    """Fit a threshold for each label on all validated cases, judge it across folds, and write both into the folder.

    Args:
        model: trained model folder, its folds (None: all) validated with `--npz`.
        labels: reference segmentations, named by case.
        targets: the labels.
        price: of false volume, see `Curves.utility`.
        workers: processes.

    Returns:
        The content of the file.

    Raises:
        DataError: fewer than two folds have validation probabilities, or no case has a lesion.
    """
    chosen: Collection[int] | None = None if model.folds is None else [int(fold) for fold in model.folds]
    fold, scores = score_validation(model.folder, labels, targets, workers, chosen)
    cases = sorted(scores)
    folds = np.array([fold[case] for case in cases])
    trained = ModelOptions(model.folder, tuple(sorted(set(fold.values()))), model.checkpoint)
    for number in trained.folds or ():
        path = model.folder / f"fold_{number}" / model.checkpoint
        if not path.is_file():
            raise DataError("The checkpoint that was validated is not there.", where=path, remedy="Check -chk.")
    content = {
        "version": FORMAT_VERSION,
        "rule": "highest mean Dice of cases with the label, less the price for each mL of false volume in the mean "
        "case without it; a voxel has the label where its probability exceeds the threshold",
        "price": price,
        **fitted_with(trained),
        "cases_by_fold": {str(number): int((folds == number).sum()) for number in sorted(set(fold.values()))},
        "software": software_versions(),
        "labels": {t.name: _fit([scores[case][t.name].curve for case in cases], folds, price, t.name) for t in targets},
    }
    write_json(model.folder / FILE, json_value(content))
    return content


def _fit(found: Sequence[Any], folds: np.ndarray, price: float, name: str) -> dict[str, Any]:
    """What the file says of one label."""
    curves = stack([[found]])
    everything = np.ones(len(folds), dtype=bool)
    best = int(curves.fitted(everything, price)[0])
    if best < 0:
        raise DataError(f"No validated case has the label {name!r}.", where="references", remedy="Check --label, -f.")
    dice = curves.dice()[0, 0]
    positive = curves.reference[0, 0] > 0
    volume = curves.false_ml()[0, 0]
    across = at_thresholds(curves, folds, price)
    free = volume[~positive].mean(axis=0) if not positive.all() else np.full(len(THRESHOLDS), math.nan)
    return {
        "threshold": float(THRESHOLDS[best]),
        "cases": len(folds),
        "positives": int(positive.sum()),
        "threshold_by_fold": {str(number): (values[0] if values else None)
                              for number, values in across.thresholds.items()},
        "across_folds": {
            "dice_at_half": float(np.nanmean(across.dice)),
            "dice": float(np.nanmean(across.dice_fitted)),
            "false_ml_at_half": across.false_ml,
            "false_ml": across.false_ml_fitted,
        },
        "curve": {
            "threshold": THRESHOLDS.tolist(),
            "dice": dice[positive].mean(axis=0).tolist(),
            "false_ml": free.tolist(),
            "utility": curves.utility(everything, price)[0].tolist(),
        },
    }  # fmt: skip


def read_thresholds(model: ModelOptions) -> dict[str, float]:
    """The thresholds that were fitted for a model folder, by label.

    Raises:
        DataError: there are none, the file is damaged, or the folds were trained again since.
    """
    path = model.folder / FILE
    if not path.is_file():
        raise DataError(
            "No threshold was fitted for this model.",
            where=path,
            remedy=f"Run nnUNetv2_textguided threshold -m {model.folder}, or give a number.",
        )
    content: Mapping[str, Any] = read_json(path, error=DataError)
    try:
        if content["version"] != FORMAT_VERSION:
            raise ValueError(f"its version is {content['version']!r}")
        fitted = {str(name): _number(entry["threshold"]) for name, entry in content["labels"].items()}
        if not isinstance(content[WEIGHTS], dict):
            raise TypeError(f"{WEIGHTS} is no object")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"The file does not describe thresholds: {error}.", where=path, remedy="Fit again.") from error
    check_fitted_with(content, model, path, "threshold")
    return fitted


def offered_thresholds(model: ModelOptions) -> dict[str, float]:
    """What a viewer may offer: the fitted thresholds; none where there are none for these very checkpoints."""
    try:
        return read_thresholds(model)
    except DataError:  # an error only for those who ask to predict with them
        return {}


def resolve_thresholds(asked: str | None, model: ModelOptions, labels: Sequence[str]) -> dict[str, float]:
    """The threshold of each label of a model that is not cut as nnU-Net cuts.

    Args:
        asked: None: none; FITTED: those of `read_thresholds`; else a probability, for every label.
        model: the model, with its folds.
        labels: of the model.

    Raises:
        DataError: it is no probability, or nothing was fitted.
    """
    if asked is None:
        return {}
    if asked == FITTED:
        fitted = read_thresholds(model)
        return {label: fitted[label] for label in labels if label in fitted}
    try:
        value = _number(float(asked))
    except ValueError:
        raise DataError(f"{asked!r} is no threshold.", where="--threshold",
                        remedy=f"Give {FITTED}, or a probability between 0 and 1.") from None  # fmt: skip
    return dict.fromkeys(labels, value)


def _number(value: Any) -> float:
    if not isinstance(value, float) or not 0 < value < 1:
        raise ValueError(f"{value!r} is no threshold")
    return value


def shift_logits(logits: np.ndarray, thresholds: Mapping[int, float]) -> np.ndarray:
    """Logits whose stock mask is the mask at these thresholds.

    The logit of a head is lowered by its threshold's log odds. Of one class beside the background, or of a region, a
    voxel is then marked exactly where its probability exceeds the threshold. Of several classes it gets the one whose
    probability, divided by the odds of its threshold, is the largest, if it is above the background's; at 0.5
    nothing changes.

    Args:
        logits: (heads, ...).
        thresholds: head -> threshold.
    """
    shifted = np.array(logits, dtype=np.float32)
    for head, threshold in thresholds.items():
        shifted[head] -= math.log(threshold / (1 - threshold))
    return shifted
