"""Case text of the public archive: from the marksheet, and from ProstateX's table of findings.

What pathology found (GS, ISUP, csPCa, ClinSig) is what models are to predict: it never becomes text. The targets of
cases without an outline, which are no text, are in report_targets.py.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import SimpleITK as sitk

from nnunetv2_textguided.anatomy.sectors import DEPTHS, LEVELS, SIDES, GlandFrame, Sector, affine_of
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.files import read_json
from nnunetv2_textguided.imaging.images import read_mask
from nnunetv2_textguided.picai.marksheet import Row
from nnunetv2_textguided.tables import read_table
from nnunetv2_textguided.text.case_text import CLINICAL, CaseText, ClinicalFacts

Kind = Literal["clinical", "pirads", "findings"]
KINDS: tuple[Kind, ...] = get_args(Kind)
GLAND_FOLDER = Path("anatomical_delineations") / "whole_gland" / "AI" / "Bosma22b"
MAPPING = Path("additional_resources") / "ProstateX-mapping.json"
FINDING_COLUMNS = ("ProxID", "fid", "pos", "zone")
VERDICT = "ClinSig"
PROSTATEX_ZONES = {
    "PZ": "peripheral zone",
    "TZ": "transition zone",
    "AS": "anterior fibromuscular stroma",
    "SV": "seminal vesicles",
}
MIDLINE_MM = 3.0
"""A finding this close to the gland's middle plane gets no side."""
FAR_MM = 15.0
"""A finding this far outside of the gland's extent is in another coordinate system than the gland."""
NOT_SUSPICIOUS = 2
"""PI-RADS up to here: clinically significant cancer is unlikely."""


@dataclass(frozen=True)
class ProstateXFinding:
    """One row of the table, without its verdict.

    Attributes:
        patient: ProxID, such as ProstateX-0000.
        position: (x, y, z) LPS coordinates in mm.
        zone: the prostate's part, in words.
    """

    patient: str
    position: tuple[float, float, float]
    zone: str


def from_marksheet(row: Row, kinds: Collection[Kind]) -> tuple[CaseText, list[str]]:
    """What the marksheet says of a study before any biopsy.

    Args:
        row: the study's row.
        kinds: `clinical` for PSA, age and volume, `pirads` for a sentence per lesion that the radiologist graded.

    Returns:
        The text, and remarks on values that cannot be.

    Raises:
        DataError: lesion_PIRADS is not a list of grades.
    """
    clinical, remarks = _clinical(row) if "clinical" in kinds else (ClinicalFacts(), [])
    return CaseText(_pirads_sentences(row) if "pirads" in kinds else (), clinical), remarks


def _clinical(row: Row) -> tuple[ClinicalFacts, list[str]]:
    # PSA density is computed (ClinicalFacts): the marksheet's own lacks a third of its entries, and some cannot be.
    texts = {"psa_ng_per_ml": row.psa, "age_years": row.age, "prostate_volume_ml": row.prostate_volume}
    values: dict[str, float] = {}
    remarks = []
    for key, text in texts.items():
        if not text:
            continue
        low, high, unit = CLINICAL[key]
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if low < value <= high:
            values[key] = value
        else:
            remarks.append(f"{row.case}: {key} {text!r} left out: not a value in {unit.split(' (')[0]}")
    return ClinicalFacts(**values), remarks


def _pirads_sentences(row: Row) -> tuple[str, ...]:
    """A sentence per graded lesion. `N/A` is a lesion that only pathology found: that it exists must not be told."""
    grades = []
    for part in filter(None, (part.strip() for part in row.pirads.split(","))):
        if part.upper() == "N/A":
            continue
        if part not in ("1", "2", "3", "4", "5"):
            raise DataError(f"lesion_PIRADS is {row.pirads!r}.", where=f"marksheet, study {row.case}",
                            remedy="Grades are 1 to 5, separated by commas, or N/A.")  # fmt: skip
        grades.append(int(part))
    suspicious = sorted((grade for grade in grades if grade > NOT_SUSPICIOUS), reverse=True)
    if suspicious:
        return tuple(f"PI-RADS {grade} lesion" for grade in suspicious)
    return (f"no suspicious lesion, PI-RADS {max(grades)}",) if grades else ()


def read_prostatex(path: Path, *, significant: bool = False) -> list[ProstateXFinding]:
    """Read ProstateX's table of findings (ProstateX-Findings-Train.csv).

    Args:
        path: the table.
        significant: only findings that pathology confirmed, for targets; by default its verdict is not read.

    Raises:
        DataError: it is not that table.
    """
    columns = (*FINDING_COLUMNS, *((VERDICT,) if significant else ()))
    remedy = "Use ProstateX-Findings-Train.csv of the ProstateX collection."
    rows = read_table(path, columns, name="table of findings", remedy=remedy).rows
    found = [(row.cells, _finding(row.cells, row.where)) for row in rows]
    return [one for cells, one in found if not significant or cells[VERDICT].upper() == "TRUE"]


def _finding(row: Mapping[str, str], where: str) -> ProstateXFinding:
    zone = row["zone"].upper()
    if zone not in PROSTATEX_ZONES:
        raise DataError(f"The zone is {zone!r}.", where=where, remedy=f"Zones are {', '.join(PROSTATEX_ZONES)}.")
    try:
        x, y, z = (float(number) for number in row["pos"].split())
    except ValueError:
        raise DataError(f"The position is {row['pos']!r}.", where=where, remedy="Write x y z, in mm.") from None
    return ProstateXFinding(row["ProxID"], (x, y, z), PROSTATEX_ZONES[zone])


def prostatex_studies(labels: Path) -> dict[str, str]:
    """Study of each ProstateX patient, from the archive's own mapping; patients with several studies are left out.

    Raises:
        DataError: the mapping is missing.
    """
    mapping = read_json(labels / MAPPING, error=DataError)
    studies: dict[str, set[str]] = {}
    for name, case in mapping.items():
        # A name is the patient and the examination's date. The table of findings knows only the patient.
        studies.setdefault(name.rsplit("_", 1)[0], set()).add(case)
    return {patient: next(iter(cases)) for patient, cases in studies.items() if len(cases) == 1}


def findings_by_study(
    table: Path, labels: Path, cases: Collection[str], *, significant: bool = False
) -> dict[str, list[ProstateXFinding]]:
    """The table's findings of each of `cases` that has any; arguments and errors as in the functions above."""
    studies = prostatex_studies(labels)
    found: dict[str, list[ProstateXFinding]] = {}
    for finding in read_prostatex(table, significant=significant):
        if studies.get(finding.patient) in cases:
            found.setdefault(studies[finding.patient], []).append(finding)
    return found


def locate(findings: Sequence[ProstateXFinding], gland_file: Path) -> tuple[list[Sector], list[str]]:
    """Where each finding is: zone, side, level and depth within the gland.

    Args:
        findings: of one study.
        gland_file: the study's whole-gland mask, in the patient's coordinates.

    Returns:
        Places, and remarks on findings whose position does not fit the gland: they keep their zone alone.
    """
    gland = read_mask(gland_file)
    affine = affine_of(gland.GetSpacing(), gland.GetOrigin(), gland.GetDirection())
    mask = sitk.GetArrayViewFromImage(gland) > 0
    frame = GlandFrame.of(mask, affine)
    places, remarks = [], []
    for finding in findings:
        sector = Sector(zone=finding.zone)
        if frame is None or _is_far(finding, mask, gland):
            remarks.append(f"{gland_file.name}: a finding at {finding.position} lies far from the gland")
        elif finding.zone != PROSTATEX_ZONES["SV"]:
            sector = _sector(finding, frame)
        places.append(sector)
    return places, remarks


def _is_far(finding: ProstateXFinding, mask: np.ndarray, gland: sitk.Image) -> bool:
    index = np.asarray(gland.TransformPhysicalPointToContinuousIndex(finding.position))[::-1]
    places = np.argwhere(mask)
    outside = np.maximum(places.min(axis=0) - index, index - places.max(axis=0)).clip(min=0)
    return bool((outside * np.asarray(gland.GetSpacing())[::-1] > FAR_MM).any())


def _sector(finding: ProstateXFinding, frame: GlandFrame) -> Sector:
    side, level, depth = (int(values[0]) for values in frame.locate(np.asarray([finding.position])))
    central = abs(finding.position[0] - frame.centre[0]) < MIDLINE_MM
    # The anterior stroma's name already says its depth.
    says_depth = finding.zone == PROSTATEX_ZONES["AS"]
    return Sector(finding.zone, None if central else SIDES[side], LEVELS[level], None if says_depth else DEPTHS[depth])


def archive_case_text(
    rows: Mapping[str, Row], cases: Collection[str], labels: Path, kinds: Collection[Kind], table: Path | None
) -> tuple[dict[str, CaseText], list[str]]:
    """The text of every case of a data set.

    Args:
        rows: the marksheet.
        cases: identifiers of the data set's cases.
        labels: checkout of picai_labels.
        kinds: what to tell.
        table: ProstateX's table of findings, for the kind `findings`.

    Returns:
        Case text by case, and remarks on what was left out.

    Raises:
        DataError: the marksheet, the table or a gland mask is not what it should be.
    """
    texts: dict[str, CaseText] = {}
    remarks: list[str] = []
    for case in sorted(cases):
        texts[case], new = from_marksheet(rows[case], kinds)
        remarks += new
    if "findings" in kinds and table is not None:
        for case, findings in findings_by_study(table, labels, texts).items():
            places, new = locate(findings, labels / GLAND_FOLDER / f"{case}.nii.gz")
            sentences = tuple(f"finding in the {place}" for place in places)
            texts[case] = replace(texts[case], findings=texts[case].findings + sentences)
            remarks += new
    return {case: text for case, text in texts.items() if text}, remarks
