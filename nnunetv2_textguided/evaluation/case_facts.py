"""What the likelihood of a case is computed from, and the features that a regression reads in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Input = Literal["image", "clinical", "pirads"]
CERTAIN = 1e-4
"""Scores are kept this far from 0 and 1, whose logits are infinite."""


@dataclass(frozen=True)
class CaseFacts:
    """What a likelihood is computed from. None: not known.

    Attributes:
        score: the image's, the maximum of the detection map, in [0, 1].
        psa_ng_per_ml: PSA, ng/mL.
        age_years: age, years.
        prostate_volume_ml: volume of the gland, mL.
        pirads: the highest PI-RADS grade, 1 to 5.
    """

    score: float | None = None
    psa_ng_per_ml: float | None = None
    age_years: float | None = None
    prostate_volume_ml: float | None = None
    pirads: int | None = None

    def has(self, inputs: Sequence[Input]) -> bool:
        """Whether everything that a combination needs is known; of the clinical facts one suffices."""
        clinical = (self.psa_ng_per_ml, self.age_years, self.prostate_volume_ml)
        known = {
            "image": self.score is not None,
            "clinical": any(value is not None for value in clinical),
            "pirads": self.pirads is not None,
        }
        return all(known[name] for name in inputs)


_FEATURES: dict[Input, tuple[str, ...]] = {
    "image": ("logit of the image's score",),
    "clinical": ("log PSA", "age", "log prostate volume", "PSA not known", "volume not known"),
    "pirads": ("PI-RADS at least 3", "PI-RADS at least 4", "PI-RADS 5"),
}


def feature_names(inputs: Sequence[Input]) -> tuple[str, ...]:
    """Names of the features of a combination of inputs."""
    return tuple(name for one in inputs for name in _FEATURES[one])


def feature_values(facts: CaseFacts, inputs: Sequence[Input]) -> list[float]:
    """The features, NaN where not known."""
    values: list[float] = []
    for one in inputs:
        values += {"image": _image, "clinical": _clinical, "pirads": _pirads}[one](facts)
    return values


def _image(facts: CaseFacts) -> list[float]:
    if facts.score is None:
        return [math.nan]
    score = min(max(facts.score, CERTAIN), 1 - CERTAIN)
    return [math.log(score / (1 - score))]


def _clinical(facts: CaseFacts) -> list[float]:
    # The logarithm of PSA density is the difference of the two logarithms: the regression weighs it by itself.
    psa, volume, age = facts.psa_ng_per_ml, facts.prostate_volume_ml, facts.age_years
    return [
        math.nan if psa is None else math.log(psa),
        math.nan if age is None else age,
        math.nan if volume is None else math.log(volume),
        float(psa is None),
        float(volume is None),
    ]


def _pirads(facts: CaseFacts) -> list[float]:
    return [math.nan if facts.pirads is None else float(facts.pirads >= grade) for grade in (3, 4, 5)]
