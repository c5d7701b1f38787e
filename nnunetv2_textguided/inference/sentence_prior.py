"""What a sentence is worth beside the image: how likely a region that the image shows is the lesion.

A network sees each training image so often that the image alone explains it, and learns next to nothing of what a
sentence adds. So that is fitted after training, on cases that the network has not seen: a logistic regression over the
regions of the validation cases, of the highest logit in a region and of how far it lies where sentences are, by their
PI-RADS grade. Outlines are the image's; text says which of them count (docs/case_text.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.files import read_json, write_json
from nnunetv2_textguided.inference.options import ModelOptions
from nnunetv2_textguided.inference.record import check_fitted_with, fitted_with
from nnunetv2_textguided.text.case_text import pirads_of

FILE = "sentence_prior.json"
FORMAT_VERSION = 1
REGION = 0.05
"""A region is a connected set of voxels of at least this probability."""
OVERLAP = 0.1
"""A region is the lesion's if this share of its voxels is."""
GRADES = ("PI-RADS 5", "PI-RADS 4", "PI-RADS 3 or less", "no grade")
"""What a sentence can say of how suspicious a finding is."""
FEWEST = 10
"""Fewer regions of either kind do not determine a regression."""
_SURE = 1e-7


@dataclass(frozen=True)
class SentencePrior:
    """A fitted prior: what is added to the logits of a region, for sentences that are there.

    Attributes:
        label: the lesion.
        shifts: for each of GRADES, added to the logits of a region that lies wholly where such a sentence is.
        slope: of the regression. A region's chance of being the lesion's has the logit
            `slope * (highest logit + shift) + intercept`: of networks that are surer than they should be, below 1.
        intercept: of the regression.
        regions: number of regions it was fitted on.
        lesions: how many of them are the lesion's.
        with_sentences: average precision of regions, cross-fitted over folds.
        without_sentences: the same by the image alone.
    """

    label: str
    shifts: tuple[float, ...]
    slope: float
    intercept: float
    regions: int
    lesions: int
    with_sentences: float
    without_sentences: float

    def __post_init__(self) -> None:
        if len(self.shifts) != len(GRADES) or not all(map(math.isfinite, self.shifts)):
            raise ValueError(f"the shifts are {list(self.shifts)}, not {len(GRADES)} numbers")

    def described(self) -> dict[str, float]:
        """What is added, by grade."""
        return dict(zip(GRADES, self.shifts, strict=True))

    def shift(self, probability: np.ndarray, maps: Sequence[np.ndarray], findings: Sequence[str]) -> np.ndarray:
        """What is added to the lesion's logits, the same in all voxels of a region; 0 elsewhere and without sentences.

        Args:
            probability: (z, y, x) of the lesion.
            maps: where each sentence is: (z, y, x) in [0, 1].
            findings: the sentences.

        Returns:
            (z, y, x) float32.
        """
        numbers, count = ndimage.label(probability >= REGION)
        added = said_of(numbers, count, maps, findings) @ np.asarray(self.shifts)
        return np.concatenate([[0], added]).astype(np.float32)[numbers]


@dataclass(frozen=True)
class Regions:
    """The regions of a case.

    Attributes:
        logit: (N,) the highest in each.
        said: (N, G) for each of GRADES, how far a region lies where such a sentence is.
        lesion: (N,) whether it is the lesion's.
    """

    logit: np.ndarray
    said: np.ndarray
    lesion: np.ndarray


def said_of(numbers: np.ndarray, count: int, maps: Sequence[np.ndarray], findings: Sequence[str]) -> np.ndarray:
    """(N, G) mean of a sentence's map over each region, by grade: the highest of several sentences.

    Args:
        numbers: (z, y, x) number of each voxel's region, from 1; 0: of none.
        count: of regions.
        maps: where each sentence is.
        findings: the sentences.
    """
    said = np.zeros((count, len(GRADES)))
    for one, sentence in zip(maps, findings, strict=True):
        grade = pirads_of(sentence)
        column = len(GRADES) - 1 if grade is None else min(5 - grade, 2)
        there = ndimage.mean(one, numbers, np.arange(1, count + 1)) if count else []
        said[:, column] = np.maximum(said[:, column], there)
    return said


def regions_of(
    probability: np.ndarray, maps: Sequence[np.ndarray], findings: Sequence[str], lesion: np.ndarray
) -> Regions:
    """The regions of a case whose lesion is known.

    Args:
        probability: (z, y, x) of the lesion, by a network that has not seen the case.
        maps: where each sentence is.
        findings: the sentences.
        lesion: (z, y, x) bool.
    """
    numbers, count = ndimage.label(probability >= REGION)
    index = np.arange(1, count + 1)
    highest = np.clip(ndimage.maximum(probability, numbers, index) if count else [], _SURE, 1 - _SURE)
    share = np.asarray(ndimage.mean(lesion, numbers, index) if count else [])
    return Regions(np.log(highest / (1 - highest)), said_of(numbers, count, maps, findings), share >= OVERLAP)


def fit_prior(regions: Sequence[Regions], folds: Sequence[int], label: str) -> SentencePrior:
    """Fit the prior on all cases, and judge it on each fold's by the regression of the others.

    Args:
        regions: of each case.
        folds: of each case.
        label: the lesion.

    Raises:
        DataError: one fold alone, too few regions of either kind outside of one, or the image does not tell lesions.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import average_precision_score

    values = np.concatenate([np.column_stack([one.logit, one.said]) for one in regions])
    lesion = np.concatenate([one.lesion for one in regions])
    fold = np.repeat(folds, [len(one.logit) for one in regions])
    crossed = np.zeros((2, len(lesion)))
    for left_out in sorted(set(folds)):
        train, test = fold != left_out, fold == left_out
        _check_enough(lesion[train])
        for row, columns in enumerate((slice(None), slice(1))):
            model = LogisticRegression().fit(values[train, columns], lesion[train])
            crossed[row, test] = model.decision_function(values[test, columns]) if test.any() else 0
    fitted = LogisticRegression().fit(values, lesion)
    slope, *coefficients = fitted.coef_[0]
    if slope <= 0:
        raise DataError(
            "The probability is not higher in regions that are the lesion's: the network has learned nothing to which "
            "sentences could be added.",
            where="validation cases",
            remedy="Train longer, or check the references.",
        )
    found, image = (float(average_precision_score(lesion, row)) for row in crossed)
    shifts, intercept = tuple(float(one / slope) for one in coefficients), float(fitted.intercept_[0])
    return SentencePrior(label, shifts, float(slope), intercept, len(lesion), int(lesion.sum()), found, image)


def _check_enough(lesion: np.ndarray) -> None:
    if min(lesion.sum(), (~lesion).sum()) < FEWEST:
        raise DataError(
            f"{int(lesion.sum())} regions of lesions and {int((~lesion).sum())} others are too few to fit a prior on.",
            where="validation cases",
            remedy=f"At least {FEWEST} of each are needed outside of every fold, and two folds.",
        )


def write_prior(prior: SentencePrior, model: ModelOptions) -> Path:
    """Write the prior into the folder of the model that it was fitted for."""
    content = {"version": FORMAT_VERSION, "region": REGION, "grades": GRADES, **fitted_with(model), **asdict(prior)}
    write_json(model.folder / FILE, content)
    return model.folder / FILE


def read_prior(model: ModelOptions) -> SentencePrior | None:
    """The prior in the model folder; None where none was fitted.

    Raises:
        DataError: the file is damaged, or the folds were trained again since it was fitted.
    """
    path = model.folder / FILE
    if not path.is_file():
        return None
    content: Any = read_json(path, error=DataError)
    try:
        if (content["version"], content["region"]) != (FORMAT_VERSION, REGION):
            raise ValueError(f"its version is {content['version']!r}, its regions begin at {content['region']!r}")
        values = {name: content[name] for name in SentencePrior.__dataclass_fields__}
        prior = SentencePrior(**{**values, "shifts": tuple(map(float, values["shifts"]))})
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"The file does not describe a prior of sentences: {error}.", where=path, remedy="Fit it again."
        ) from error
    check_fitted_with(content, model, path, "sentence-prior")
    return prior
