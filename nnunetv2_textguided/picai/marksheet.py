"""The clinical marksheet of the picai_labels repository: one row per study."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from nnunetv2_textguided.errors import DataError

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
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle)
            missing = [c for c in _COLUMNS if c not in (reader.fieldnames or ())]
            if missing:
                raise DataError(
                    f"The marksheet lacks the columns {', '.join(missing)}.",
                    where=path,
                    remedy="Use clinical_information/marksheet.csv of github.com/DIAGNijmegen/picai_labels.",
                )
            rows: dict[str, Row] = {}
            for number, fields in enumerate(reader, start=2):
                row = _row(fields, f"{path}, line {number}")
                if row.case in rows:
                    raise DataError(f"Study {row.case} appears twice.", where=f"{path}, line {number}")
                rows[row.case] = row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"The marksheet cannot be read: {error}.",
            where=path,
            remedy="--labels has to be a checkout of github.com/DIAGNijmegen/picai_labels.",
        ) from error
    return rows


def _row(fields: dict[str, str | None], where: str) -> Row:
    def text(name: str) -> str:
        return (fields.get(name) or "").strip()

    verdict = text("case_csPCa").upper()
    if verdict not in ("YES", "NO"):
        raise DataError(f"case_csPCa is {verdict!r}, not YES or NO.", where=where, remedy="Correct the marksheet.")
    isup = text("case_ISUP")
    if isup and not isup.isdigit():
        raise DataError(f"case_ISUP is {isup!r}, not a number.", where=where, remedy="Correct the marksheet.")
    return Row(
        case=f"{text('patient_id')}_{text('study_id')}",
        patient=text("patient_id"),
        study=text("study_id"),
        cspca=verdict == "YES",
        isup=int(isup) if isup else None,
        centre=text("center"),
        psa=text("psa"),
        psad=text("psad"),
        age=text("patient_age"),
        prostate_volume=text("prostate_volume"),
        pirads=text("lesion_PIRADS"),
        lesion_isup=text("lesion_ISUP"),
        lesion_gs=text("lesion_GS"),
    )
