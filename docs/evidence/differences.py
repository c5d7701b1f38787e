"""The differences that docs/evidence.md states, each computed from the tables beside this file, for answers.py."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import refiner

from nnunetv2_textguided.evaluation.case_files import CaseFile, read_case_files
from nnunetv2_textguided.evaluation.cases import patient_of
from nnunetv2_textguided.evaluation.difference import Difference
from nnunetv2_textguided.evaluation.options import PRICE
from nnunetv2_textguided.evaluation.threshold_comparison import ModelAtThresholds
from nnunetv2_textguided.evaluation.trainings import folds_of_means

HERE = Path(__file__).parent
CASES = [HERE / f"{name}.csv" for name in ("per_case", "thresholds", "patient_text", "sentence_prior", "reports")]
MEASURES = {
    "fitted": "Dice, fitted thresholds", "half": "Dice at 0.5", "dice": "Dice",
    "change": "Dice", "auroc": "AUROC of cases", "nsd": "NSD at 2 mm",
    "precision": "AP of voxels per positive case",
}  # fmt: skip


def difference(asked: dict[str, Any]) -> Difference | None:
    """Of an entry of answers.json; None where its models are in no table."""
    measure, model, baseline = (asked[key] for key in ("measure", "model", "baseline"))
    if measure in ("nsd", "dice"):
        return _of_refiner(measure, baseline)
    cases = read_cases(asked.get("labels", "lesion"))
    cases = cases.of_repeat(asked["repeat"]) if "repeat" in asked else cases
    if not {model, baseline} <= set(cases.models):
        return None
    if measure in ("half", "auroc"):
        return cases.difference(model, baseline, "dice" if measure == "half" else measure)
    found = cases.at_thresholds(model, baseline)
    if measure == "fitted":
        return found.fitted
    ours, theirs, same = found.model, found.baseline, cases.same_networks(model, baseline)
    if measure == "precision":
        values = _precision(ours), _precision(theirs)
    else:  # one model, at two thresholds
        values, same = (ours.dice_fitted, ours.dice), True
    patients = [patient_of(name) for name in names_of(cases, model, baseline)]
    return Difference(tuple(folds_of_means(*values, ours.folds, patients, same)))


def _precision(model: ModelAtThresholds) -> np.ndarray:
    """(R, C) average precision of the voxels of each case; NaN without a lesion."""
    one = np.ones((1, 1))
    cases = [np.array([case]) for case in range(len(model.folds))]
    return np.array([[of(case, one)[0] for case in cases] for of in model.curves.average_precision()])


def names_of(cases: CaseFile, *models: str) -> list[str]:
    """The cases of some models, in the order of `CaseFile.at_thresholds`."""
    return sorted(set(cases.rows[cases.rows["model"].isin(models)]["case"]))


@cache
def read_cases(labels: str) -> CaseFile:
    """All tables of cases of one rendering."""
    return read_case_files(CASES, {"labels": labels})


def _of_refiner(metric: str, baseline: str) -> Difference:
    """Refined minus the network before its refiner, at 0.5 or at a threshold fitted to a metric at the price."""
    study = refiner.Study(pd.read_csv(refiner.TABLE))
    off = (lambda *_: refiner.OFF) if baseline == "off" else study.fitted(baseline, PRICE)
    return study.difference(lambda *_: refiner.ON, off, metric, True)
