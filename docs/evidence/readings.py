"""What the simulated reader (reader.py) says of the rendered cases, and other texts to compare it with."""

from __future__ import annotations

import csv
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import SimpleITK as sitk
from reader import Reader, lesions_of, misread, opposite
from wordings import of_sectors

from nnunetv2_textguided.anatomy.sectors import SECTORS, Sector, affine_of, sector_map
from nnunetv2_textguided.picai.marksheet import Row, read_marksheet
from nnunetv2_textguided.text.phrases import Phrase, training_phrases

BENIGN = 0.35
"""Share of the lesion-free cases in which the reader names a finding, where the images have none."""
READER = Reader()
CONDITIONS = ("none", "reader", "unseen", "other", "opposite", "oracle")
"""No sentence; the reader's; the same places in wordings that no training sees; another positive patient's; the zone,
side and depth that the reader did not name; the right places. The first is what `nnUNetv2_predict` gives."""


def _by_place(phrases: Sequence[Phrase]) -> dict[Sector, list[str]]:
    return {place: [phrase.text for phrase in phrases if phrase.sector == place] for place in SECTORS}


KNOWN, UNSEEN = _by_place(training_phrases()), _by_place(of_sectors())
_GRADE = re.compile(r"(PI-?RADS|score|Likert) \d(?:/5)?")


class Finding(NamedTuple):
    """What a reader saw: where, and how suspicious it is (PI-RADS)."""

    place: Sector
    grade: int


def texts_of(
    raw: Path, zones: Path, marksheet: Path, seed: str = "reader"
) -> dict[str, dict[str, list[dict[str, str]]]]:
    """Case -> condition -> sentences, each with the sector that it names.

    Args:
        raw: the rendered data set. Where it has findings like cancers (`mimicsTr`), the reader names them too.
        zones: folder for zone masks without holes.
        marksheet: PI-CAI's, for the grades.
    """
    zones.mkdir(exist_ok=True)
    draw, rows, seen = random.Random("reader"), read_marksheet(marksheet), {}
    benign = _benign(raw, zones) if (raw / "mimicsTr").is_dir() else None
    for path in sorted((raw / "labelsTr").glob("*.nii.gz")):
        case = path.name.removesuffix(".nii.gz")
        places = [place for place, _ in lesions_of(path, raw / "anatomyTr" / path.name, zones / path.name)]
        true = [Finding(place, grade) for place, grade in zip(places, _grades(rows[case], len(places)), strict=True)]
        lesions = bool(true)
        if benign is not None:
            true += benign(case)
        read = [Finding(place, grade) for one, grade in true if (place := misread(one, READER, draw)) is not None]
        if benign is None and not true and draw.random() < BENIGN:
            read = [Finding(draw.choice(SECTORS), 3)]
        seen[case] = (lesions, true, read)
    positive = [case for case, (lesions, _, read) in seen.items() if lesions and read]
    texts = {}
    for case, (_, true, read) in seen.items():
        other = seen[draw.choice([name for name in positive if name != case])][2]
        wrong = [Finding(opposite(place), grade) for place, grade in read]
        texts[case] = {
            "none": [],
            "reader": [_said(one, KNOWN, draw) for one in read],
            "unseen": [_said(one, UNSEEN, draw) for one in read],
            "other": [_said(one, KNOWN, draw) for one in other],
            "opposite": [_said(one, KNOWN, draw) for one in wrong],
            "oracle": [_said(one, KNOWN, draw) for one in true],
        }
    return texts


def _grades(row: Row, number: int) -> list[int]:
    """The study's `number` highest PI-RADS; 3 where the marksheet has fewer."""
    grades = sorted((int(word) for word in row.pirads.split(",") if word.strip().isdigit()), reverse=True)
    return (grades + [3] * number)[:number]


def _benign(raw: Path, zones: Path) -> Any:
    """Case -> its findings like cancers."""
    rows = list(csv.DictReader((raw / "mimics.csv").open(encoding="utf-8")))

    def findings(case: str) -> Iterator[Finding]:
        name = f"{case}.nii.gz"
        found = sitk.ReadImage(str(raw / "mimicsTr" / name))
        numbers, zone = (sitk.GetArrayFromImage(image) for image in (found, sitk.ReadImage(str(zones / name))))
        sectors = sector_map(zone, affine_of(found.GetSpacing(), found.GetOrigin(), found.GetDirection()))
        for row in (row for row in rows if row["case"] == case):
            values = sectors[(numbers == int(row["number"])) & (sectors > 0)].tolist()
            if values:
                yield Finding(SECTORS[max(set(values), key=values.count) - 1], int(row["PIRADS"]))

    return findings


def without_grade(sentence: str) -> str:
    """A sentence that does not say how suspicious the finding is."""
    return _GRADE.sub("", sentence)


def _said(finding: Finding, wordings: dict[Sector, list[str]], draw: random.Random) -> dict[str, str]:
    """A sentence in one of the wordings, with the finding's grade, and the sector."""
    text = draw.choice(wordings[finding.place])
    graded = _GRADE.sub(rf"\1 {finding.grade}", text)
    sentence = graded if _GRADE.search(text) else f"{text.rstrip('.')}, PI-RADS {finding.grade}"
    return {"sentence": sentence, "place": str(SECTORS.index(finding.place) + 1)}
