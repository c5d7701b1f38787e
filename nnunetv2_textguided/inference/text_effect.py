"""What the text of a case did to its prediction, and whether the image contradicts it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnunetv2_textguided.inference.cases import sentence_map
from nnunetv2_textguided.text.case_text import CaseText

GROUNDED = 0.5
"""A sentence is grounded where its map is at least this."""
CONTRADICTED = 0.1
"""The image contradicts a sentence in whose region the prediction without any text has no candidate and nowhere this
probability."""

Detect = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, int]]
"""From (z, y, x) probability and mask of the lesion to its detection map, and how many candidates were dropped."""


@dataclass(frozen=True)
class Lesser:
    """A prediction with less text.

    Attributes:
        probability: (z, y, x) probability of the lesion.
        mask: (z, y, x) bool, its mask.
    """

    probability: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True)
class LessText:
    """What the network finds with less text.

    Attributes:
        case: the case.
        text: what the network was told of it.
        maps: where each sentence is: (z, y, x) in [0, 1].
        less: predictions without any text, and, where the text has several parts, without each of them, the clinical
            facts last; empty where no candidates are listed.
    """

    case: str
    text: CaseText
    maps: Sequence[np.ndarray]
    less: Sequence[Lesser]

    def described(self) -> dict[str, Any]:
        """What was told and where the maps are, as JSON values."""
        places = [str(sentence_map(self.case, number + 1).as_posix()) for number in range(len(self.maps))]
        sentences = [{"sentence": s, "map": p} for s, p in zip(self.text.findings, places, strict=True)]
        return {"told": self.text.to_json(), "sentences": sentences}


@dataclass(frozen=True)
class TextEffect:
    """What text did.

    Attributes:
        record: all of it, as JSON values.
        from_text: numbers of the candidates that exist only because of it.
        remarks: what a reader has to know.
    """

    record: dict[str, Any]
    from_text: frozenset[int]
    remarks: list[str]


def text_effect(
    less_text: LessText, detection: np.ndarray, mask: np.ndarray, numbers: np.ndarray, detect: Detect, voxel_ml: float
) -> TextEffect:
    """Compare the prediction with those with less text.

    Args:
        less_text: the predictions with less text.
        detection: (z, y, x) detection map of the prediction with all of it.
        mask: (z, y, x) bool, its mask.
        numbers: (z, y, x) numbers of its candidates.
        detect: how candidates are found.
        voxel_ml: volume of a voxel, mL.
    """
    found = [detect(one.probability, one.mask)[0] for one in less_text.less]
    without, *others = found
    # With one part alone, the prediction without it is the one without any.
    each = list(zip(others or [without], list(less_text.less[1:]) or less_text.less, strict=True))

    def change(less: np.ndarray, one: Lesser) -> dict[str, Any]:
        return {
            "volume_change_ml": float(mask.sum() - one.mask.sum()) * voxel_ml,
            "likelihood_change": float(detection.max() - less.max()),
            "candidates_from_it": sorted(_only_here(numbers, less)),
        }

    described, remarks = less_text.described(), []
    for entry, region, less in zip(described["sentences"], less_text.maps, each, strict=False):
        entry |= grounding_of(region >= GROUNDED, less_text.less[0].probability, without, voxel_ml) | change(*less)
        remarks += _remarks(entry)
    if less_text.text.clinical:
        described["clinical"] = change(*each[-1])
    new = _only_here(numbers, without)
    if new:
        remarks.append(f"candidates from text, not from the image alone: {', '.join(map(str, sorted(new)))}")
    volume_ml = float(less_text.less[0].mask.sum()) * voxel_ml
    described["without"] = {"volume_ml": volume_ml, "case_likelihood": float(without.max())}
    return TextEffect({**described, "candidates_from_text": sorted(new)}, new, remarks)


def _remarks(entry: dict[str, Any]) -> list[str]:
    """What a reader has to know of one sentence."""
    if entry["contradicted"] is None:
        return [f'the model finds no place for: "{entry["sentence"]}"']
    return [f'the image contradicts: "{entry["sentence"]}"'] if entry["contradicted"] else []


def grounding_of(region: np.ndarray, probability: np.ndarray, detection: np.ndarray, voxel_ml: float) -> dict[str, Any]:
    """Where a sentence is, and what the image alone has there.

    Args:
        region: (z, y, x) bool, where the sentence is grounded.
        probability: (z, y, x) probability of the lesion without any text.
        detection: (z, y, x) its detection map.
        voxel_ml: volume of a voxel, mL.
    """
    peak = float(probability[region].max()) if region.any() else None
    contradicted = None if peak is None else bool(peak < CONTRADICTED and not (detection[region] > 0).any())
    return {
        "grounded_ml": float(region.sum()) * voxel_ml,
        "peak_without_text": peak,
        "contradicted": contradicted,
    }


def _only_here(numbers: np.ndarray, less: np.ndarray) -> frozenset[int]:
    """Numbers of the candidates that share no voxel with a candidate of the detection map `less`."""
    return frozenset(np.unique(numbers).tolist()) - frozenset(np.unique(numbers[less > 0]).tolist()) - {0}
