"""What is known about each case beside its images: patient, fold, centre, ISUP, PI-RADS, zone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.tables import read_table

# Names that data sets give to the columns of cases.csv; the first that is there is read.
COLUMNS = {
    "case": ("case", "id", "case_id", "identifier"),
    "patient": ("patient", "patient_id"),
    "centre": ("centre", "center", "site"),
    "isup": ("ISUP", "case_ISUP", "isup"),
    "pirads": ("PI_RADS", "lesion_PIRADS", "PIRADS", "pirads"),
    "origin": ("origin", "label_source"),
}


@dataclass(frozen=True)
class CaseInfo:
    """One case.

    Attributes:
        case: its identifier.
        patient: cases of one patient are not independent. The case itself where nothing says whose it is.
        centre: where it was acquired; empty where unknown.
        isup: its highest ISUP grade; None where unknown.
        pirads: its highest PI-RADS score; None where unknown.
        zone: that holds most of its lesions' voxels; empty where unknown, or without a lesion. See zones.py.
        origin: of its label; empty where unknown.
    """

    case: str
    patient: str
    centre: str = ""
    isup: int | None = None
    pirads: int | None = None
    zone: str = ""
    origin: str = ""


def patient_of(case: str) -> str:
    """The patient of a case identifier `<patient>_<study>`."""
    return case.split("_")[0]


def owner_of(case: str) -> str:
    """The patient, where the identifier is the archive's; of another data set's case_1 and case_2 nothing is known."""
    return patient_of(case) if re.fullmatch(r"\d+_\d+", case) else case


def read_case_infos(cases: Iterable[str], table: Path | None) -> dict[str, CaseInfo]:
    """What is known about `cases`.

    Args:
        cases: identifiers.
        table: a cases.csv, as `picai prepare` writes it; the column names in COLUMNS are understood. None: every case
            is a patient of its own, and nothing else is known.

    Raises:
        DataError: the table is unreadable, has no column for the identifier, or lacks a case.
    """
    if table is None:
        return {case: CaseInfo(case, case) for case in cases}
    rows = read_case_table(table)
    missing = sorted(set(cases) - rows.keys())
    if missing:
        raise DataError(
            f"The table lacks {len(missing)} validated cases, for example {missing[0]}.",
            where=table,
            remedy="Complete it, or pass another with --cases (or `--cases none` to do without).",
        )
    return {case: rows[case] for case in cases}


def read_case_table(table: Path) -> dict[str, CaseInfo]:
    """Every case of a cases.csv; see `read_case_infos`."""
    read = read_table(table)
    column = next((name for name in COLUMNS["case"] if name in read.columns), None)
    if column is None:
        raise DataError(f"The table has no column of case identifiers ({', '.join(COLUMNS['case'])}).", where=table)
    return {row.cells[column]: _info(row.cells[column], row.cells) for row in read.rows}


def _info(case: str, row: Mapping[str, str]) -> CaseInfo:
    def text(field: str) -> str:
        value = next((row[name] for name in COLUMNS[field] if row.get(name)), "")
        return value.strip()

    grades = _highest(text("isup")), _highest(text("pirads"))
    return CaseInfo(case, text("patient") or case, text("centre"), *grades, origin=text("origin"))


def _highest(text: str) -> int | None:
    """The highest of the grades in a field: "3", "3.0", or "2,5" of several lesions."""
    numbers = [int(number) for number in re.findall(r"(?<![\d.])\d+", text)]
    return max(numbers) if numbers else None
