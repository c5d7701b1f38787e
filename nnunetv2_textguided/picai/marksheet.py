"""The clinical marksheet of the picai_labels repository: one row per study."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.tables import read_table

MARKSHEET = Path("clinical_information") / "marksheet.csv"
_COLUMNS = ("patient_id", "study_id", "case_ISUP", "case_csPCa", "center", "psa", "lesion_PIRADS", "lesion_ISUP")


@dataclass(frozen=True)
class Row:
    """A study's row. Text fields are as the marksheet has them: empty where unknown, comma-separated per lesion."""

    case: str
    patient: str
    study: str
    cspca: bool
    isup: int | None
    centre: str
    psa: str
    psad: str
    age: str
    prostate_volume: str
    pirads: str
    lesion_isup: str
    lesion_gs: str


def read_marksheet(path: str | Path) -> dict[str, Row]:
    """Read the marksheet; keys are case identifiers `<patient>_<study>`.

    Raises:
        DataError: no such file, a column is missing, an identifier appears twice, or case_csPCa is not YES or NO.
    """
    remedy = (
        "Use clinical_information/marksheet.csv of github.com/DIAGNijmegen/picai_labels; --labels is a checkout of it."
    )
    rows: dict[str, Row] = {}
    for read in read_table(Path(path), _COLUMNS, name="marksheet", remedy=remedy).rows:
        row = _row(read.cells, read.where)
        if row.case in rows:
            raise DataError(f"Study {row.case} appears twice.", where=read.where)
        rows[row.case] = row
    return rows


def _row(cells: dict[str, str], where: str) -> Row:
    verdict = cells["case_csPCa"].upper()
    if verdict not in ("YES", "NO"):
        raise DataError(f"case_csPCa is {verdict!r}, not YES or NO.", where=where, remedy="Correct the marksheet.")
    isup = cells["case_ISUP"]
    if isup and not isup.isdigit():
        raise DataError(f"case_ISUP is {isup!r}, not a number.", where=where, remedy="Correct the marksheet.")
    return Row(
        case=f"{cells['patient_id']}_{cells['study_id']}",
        patient=cells["patient_id"],
        study=cells["study_id"],
        cspca=verdict == "YES",
        isup=int(isup) if isup else None,
        centre=cells["center"],
        psa=cells["psa"],
        psad=cells.get("psad", ""),
        age=cells.get("patient_age", ""),
        prostate_volume=cells.get("prostate_volume", ""),
        pirads=cells["lesion_PIRADS"],
        lesion_isup=cells["lesion_ISUP"],
        lesion_gs=cells.get("lesion_GS", ""),
    )
