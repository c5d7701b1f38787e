"""How likely a case has the disease: what the image showed, combined with clinical facts and the radiologist's grade.

A logistic regression on out-of-fold predictions, one for each combination of what is known of a case. Its coefficients
are kept beside the model, so that a likelihood can be computed by hand from what stands there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.evaluation.case_facts import CaseFacts, Input, feature_names, feature_values
from nnunetv2_textguided.files import read_json, write_json

FILE = "case_likelihood.json"
FORMAT_VERSION = 1
COMBINATIONS: tuple[tuple[Input, ...], ...] = (
    ("image", "clinical", "pirads"),
    ("image", "pirads"),
    ("image", "clinical"),
    ("image",),
)
"""The richest first: a case's likelihood comes from the first whose inputs it has."""
FEWEST = 10
"""Fewer cases of either kind do not determine a regression."""


@dataclass(frozen=True)
class LikelihoodModel:
    """A fitted regression: logit(likelihood) = intercept + sum of coefficient * (feature - mean) / scale.

    A feature that is not known counts as its mean; an indicator of its own says so.

    Attributes:
        inputs: what it needs.
        features: names of the features.
        mean: of each feature over the cases where it is known.
        scale: standard deviation of each feature over these.
        coefficients: of the standardised features.
        intercept: of the logit.
        cases: number of cases it was fitted on.
        positives: how many of them have the disease.
        auroc: of the cross-fitted likelihoods.
        brier: mean squared error of the cross-fitted likelihoods.
    """

    inputs: tuple[Input, ...]
    features: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    coefficients: tuple[float, ...]
    intercept: float
    cases: int
    positives: int
    auroc: float = field(default=float("nan"))
    brier: float = field(default=float("nan"))

    def likelihood(self, facts: CaseFacts) -> float:
        """The likelihood of one case, in (0, 1)."""
        values = np.array([feature_values(facts, self.inputs)])
        standardised = (np.where(np.isnan(values), self.mean, values) - self.mean) / self.scale
        logit = float(standardised[0] @ np.asarray(self.coefficients)) + self.intercept
        return 1 / (1 + math.exp(-logit))


def fit_likelihood(
    facts: Sequence[CaseFacts], positive: Sequence[bool], fold: Sequence[int], inputs: tuple[Input, ...]
) -> tuple[LikelihoodModel, np.ndarray]:
    """Fit one combination, and cross-fit it: each fold's cases are judged by the other folds' regression.

    Args:
        facts: of each case; scores must be out-of-fold predictions.
        positive: whether the case has the disease.
        fold: of each case; patients must not be in several.
        inputs: the combination.

    Returns:
        The model fitted on all cases, and (N,) cross-fitted likelihoods.

    Raises:
        DataError: a fold leaves fewer than FEWEST cases with or without the disease to fit on.
    """
    values = np.array([feature_values(one, inputs) for one in facts], dtype=float).reshape(len(facts), -1)
    target, folds = np.asarray(positive, dtype=bool), np.asarray(fold)
    crossed = np.full(len(facts), np.nan)
    for left_out in np.unique(folds):
        train, test = folds != left_out, folds == left_out
        crossed[test] = _predict(_fit(values[train], target[train]), values[test])
    mean, scale, coefficients, intercept = _fit(values, target)
    from sklearn.metrics import brier_score_loss, roc_auc_score

    model = LikelihoodModel(
        inputs,
        feature_names(inputs),
        tuple(map(float, mean)),
        tuple(map(float, scale)),
        tuple(map(float, coefficients)),
        float(intercept),
        cases=len(target),
        positives=int(target.sum()),
        auroc=float(roc_auc_score(target, crossed)),
        brier=float(brier_score_loss(target, crossed)),
    )
    return model, crossed


Fitted = tuple[np.ndarray, np.ndarray, np.ndarray, float]


def _fit(values: np.ndarray, target: np.ndarray) -> Fitted:
    from sklearn.linear_model import LogisticRegression

    if min(target.sum(), (~target).sum()) < FEWEST:
        raise DataError(
            f"{int(target.sum())} cases with and {int((~target).sum())} without the disease are too few to fit a "
            "likelihood on.",
            where="out-of-fold predictions",
            remedy=f"At least {FEWEST} of each are needed outside of every fold.",
        )
    known = ~np.isnan(values)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, values, 0).sum(axis=0) / count
    filled = np.where(known, values, mean)
    scale = np.sqrt((np.where(known, values - mean, 0) ** 2).sum(axis=0) / count)
    scale = np.where(scale > 0, scale, 1)
    regression = LogisticRegression(max_iter=1000).fit((filled - mean) / scale, target)
    return mean, scale, regression.coef_[0], float(regression.intercept_[0])


def _predict(fitted: Fitted, values: np.ndarray) -> np.ndarray:
    mean, scale, coefficients, intercept = fitted
    logit = (np.where(np.isnan(values), mean, values) - mean) / scale @ coefficients + intercept
    return np.asarray(1 / (1 + np.exp(-logit)))


def write_likelihood(
    path: Path, models: Sequence[LikelihoodModel], fitted_with: Mapping[str, Any] | None = None
) -> None:
    """Write the models of several combinations as JSON, and what tells the network that they were fitted with."""
    content = {"version": FORMAT_VERSION, **(fitted_with or {}), "models": [asdict(model) for model in models]}
    write_json(path, content)


def read_likelihood(path: Path) -> list[LikelihoodModel]:
    """Read what `write_likelihood` wrote, the richest combination first.

    Raises:
        DataError: it is no such file.
    """
    content = read_json(path, error=DataError)
    try:
        if content["version"] != FORMAT_VERSION:
            raise ValueError(f"its version is {content['version']!r}")
        models = [_parse(entry) for entry in content["models"]]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"The file does not describe case likelihoods: {error}.", where=path, remedy="Fit it again."
        ) from error
    return sorted(models, key=lambda model: COMBINATIONS.index(model.inputs))


def _parse(entry: dict[str, Any]) -> LikelihoodModel:
    values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in entry.items()}
    model = LikelihoodModel(**values)
    if model.inputs not in COMBINATIONS or model.features != feature_names(model.inputs):
        raise ValueError(f"unknown inputs or features {model.inputs}")
    if not len(model.mean) == len(model.scale) == len(model.coefficients) == len(model.features):
        raise ValueError("the numbers of features and coefficients differ")
    return model


def case_likelihood(models: Sequence[LikelihoodModel], facts: CaseFacts) -> tuple[float, tuple[Input, ...]] | None:
    """The likelihood by the richest model whose inputs are known, and these inputs; None where there is none."""
    for model in models:
        if facts.has(model.inputs):
            return model.likelihood(facts), model.inputs
    return None
