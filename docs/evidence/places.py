"""Where sentences and phrases are found in a rendered case, and how a network of either row reads them.

    python docs/evidence/places.py

writes the table of places.csv into docs/case_text_evidence.md.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd
import torch
from wordings import of_places, of_sectors

from nnunetv2_textguided.anatomy.sectors import SECTORS
from nnunetv2_textguided.evaluation.difference import Difference
from nnunetv2_textguided.evaluation.trainings import Fold, mean_trainings
from nnunetv2_textguided.files import write_text
from nnunetv2_textguided.inference.text_effect import GROUNDED, grounding_of
from nnunetv2_textguided.network.grounding import CaseInput, on_grid
from nnunetv2_textguided.text.encode import embed
from nnunetv2_textguided.text.encoders import load_encoder
from nnunetv2_textguided.text.phrases import Phrase, training_phrases
from nnunetv2_textguided.text.sentence_table import padded

PHRASES = 60
"""Phrases of each kind whose places are looked for in each case."""
SMALLEST = 5
"""Voxels of a place that counts."""
MODELS = ("tokens_", "mimics_tokens_", "", "mimics_codes_")
"""The table's columns: networks that read tokens on both renderings, that read one embedding, that know codes alone."""
PLACES = Path(__file__).with_name("places.csv")
PAGE = Path(__file__).parents[1] / "case_text_evidence.md"
TITLES = {
    "phrase known": "phrases of training",
    "phrase places": "wordings that no training sees, places of any extent",
    "phrase unseen": "an independent author's wordings of single sectors",
    "oracle": "the right place",
    "reader": "the reader's sentence",
    "unseen": "the same in an independent author's wordings",
    "other": "another positive patient's sentence",
    "opposite": "the other zone, side and depth",
}
"""Condition of places.csv -> what the page calls it."""


def code_of(text: str, width: int) -> np.ndarray:
    """A random unit vector that depends on the text alone."""
    row = np.random.default_rng(zlib.crc32(text.encode())).normal(size=width)
    return (row / np.linalg.norm(row)).astype(np.float32)


class Embedder:
    """Texts as the networks of a row read them."""

    def __init__(self, row: str, width: int) -> None:
        self.row, self.width, self._encoder = row, width, load_encoder("minilm")
        self._known: dict[str, np.ndarray] = {}

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        """(N, L, D) tokens; a code is one."""
        if missing := [text for text in dict.fromkeys(texts) if text not in self._known]:
            if self.row == "codes":
                rows = [code_of(one, self.width)[None] for one in missing]
            else:
                rows = embed(self._encoder, missing).of(missing, "", tokens=True)
            self._known |= dict(zip(missing, rows, strict=True))
        return torch.from_numpy(padded([self._known[text] for text in texts], self.width))


@dataclass(frozen=True)
class Places:
    """A case's anatomy.

    Attributes:
        sectors: (Z, Y, X) or (1, Z, Y, X) map of sectors.
        label: (Z, Y, X) label map; a lesion may lie where no sector is known.
    """

    sectors: np.ndarray
    label: np.ndarray

    def found(self, probability: np.ndarray, numbers: set[int], alone: np.ndarray) -> dict[str, Any]:
        """Dice of a sentence's map with the sectors that it names, and whether the image contradicts it.

        Args:
            probability: (Z, Y, X) the sentence's map.
            numbers: the sectors, from 1.
            alone: (Z, Y, X) probability of the lesion without text.
        """
        sectors = np.asarray(self.sectors).reshape(self.label.shape)
        true = np.isin(sectors, list(numbers))
        unknown = (self.label > 0) & ~np.isin(sectors, range(1, len(SECTORS) + 1))
        region = (probability >= GROUNDED) & ~unknown
        dice = 2 * (region & true).sum() / (region.sum() + true.sum()) if true.sum() >= SMALLEST else None
        seen = grounding_of(probability >= GROUNDED, alone, np.where(alone >= GROUNDED, alone, 0), 1.0)
        return {"dice": None if dice is None else round(float(dice), 4), "contradicted": seen["contradicted"]}


def of_phrases(
    network: Any, image: torch.Tensor, embed: Embedder, place: Places, alone: np.ndarray
) -> list[dict[str, Any]]:
    """How well places are found by phrases of training and by others; condition: kind, and how much is said (of 4)."""
    rows, draw = [], Random(0)
    for kind, phrases in (("known", training_phrases()), ("places", of_places()), ("unseen", of_sectors())):
        drawn: list[Phrase] = draw.sample(phrases, PHRASES)
        text = CaseInput(None, embed([phrase.text for phrase in drawn])[None])
        maps = maps_of(network(image, return_similarity=True, text=text).grounded.sentences, image)
        for phrase, one in zip(drawn, maps, strict=True):
            numbers = {number for number, sector in enumerate(SECTORS, start=1) if phrase.sector.contains(sector)}
            said = sum(name is not None for name in phrase.sector)
            rows.append({"condition": f"phrase {kind} {said}", **place.found(one, numbers, alone)})
    return rows


def maps_of(logits: torch.Tensor, image: torch.Tensor) -> np.ndarray:
    """(S, *S) grounding probabilities on the image's grid."""
    return torch.sigmoid(on_grid(logits, image.shape[2:]))[0].numpy()


def of_cases(where: dict[str, Any], found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of places.csv: what was found in each case under each condition, or of each kind of phrases.

    Args:
        where: what all rows have.
        found: of one training; each with case, condition, dice and contradicted.
    """
    table = pd.DataFrame(found).groupby(["case", "condition"], sort=False)
    return [
        {
            **where,
            "case": case,
            "condition": condition,
            "asked": len(rows),
            "dice": "" if rows["dice"].isna().all() else f"{rows['dice'].astype(float).mean():.4g}",
            "contradicted": int(rows["contradicted"].eq(True).sum()),
            "nowhere": int(rows["contradicted"].isna().sum()),
        }
        for (case, condition), rows in table
    ]


def table(path: Path = PLACES) -> str:
    """The page's table: how well sentences and phrases are found, and how often the image contradicts them."""
    rows = pd.read_csv(path, keep_default_na=False).assign(dice=lambda it: pd.to_numeric(it["dice"]))
    lines = [
        "| | Dice, tokens | mimics | one embedding | codes (mimics) | words - codes | contradicted, tokens | mimics |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for condition, title in TITLES.items():
        chosen = rows[rows["condition"].str.startswith(condition)]
        of = {name: chosen[chosen["model"] == name] for name in MODELS}
        dice = [f"{_mean(one, 'dice', 'asked'):.2f}" for one in of.values()]
        flags = [f"{of[name]['contradicted'].sum() / of[name]['asked'].sum():.0%}" for name in MODELS[:2]]
        flags = [flag.replace("%", " %") for flag in flags]
        over = difference(of["mimics_tokens_"], of["mimics_codes_"])
        interval = f"{over.value:+.2f} [{over.ends.low:+.2f}, {over.ends.high:+.2f}]"
        lines.append(f"| {title} | {' | '.join([*dice, interval, *flags])} |")
    return "\n".join(lines)


def difference(words: pd.DataFrame, codes: pd.DataFrame) -> Difference:
    """Of the Dice with which places are found, over patients and trainings; both with the same cases and repeats."""
    folds = []
    for number in sorted(set(words["fold"])):
        both = [_by_case(rows[rows["fold"] == number]) for rows in (words, codes)]
        cases = both[0].columns.intersection(both[1].columns)
        _, patients = np.unique([case.split("_")[0] for case in cases], return_inverse=True)
        folds.append(Fold(int(number), len(cases), *(mean_trainings(one[cases].to_numpy(), patients) for one in both)))
    return Difference(tuple(folds))


def _by_case(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean Dice of each repeat (rows) and case (columns), of those that name a place in every repeat."""
    sums = rows.dropna(subset="dice").assign(dice=lambda it: it["dice"] * it["asked"]).groupby(["repeat", "case"])
    found = sums[["dice", "asked"]].sum()
    return (found["dice"] / found["asked"]).unstack("case").dropna(axis="columns")


def _mean(rows: pd.DataFrame, value: str, weight: str) -> float:
    known = rows[rows[value].notna()]
    return float(np.average(known[value], weights=known[weight]))


def main() -> None:
    """Write the table into the page."""
    begin, end = "<!-- places -->\n", "<!-- end -->"
    before, rest = PAGE.read_text(encoding="utf-8").split(begin)
    write_text(PAGE, f"{before}{begin}{table()}\n{end}{rest.split(end, 1)[1]}")


if __name__ == "__main__":
    main()
