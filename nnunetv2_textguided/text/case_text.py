"""What is known of each patient: sentences that the radiologist wrote, and clinical facts, case by case.

A file `case_text.json` (or `case_text.csv`) beside dataset.json; a case without an entry is a case without text:

    {"CASE": {"findings": ["PI-RADS 5 lesion in the left posterior peripheral zone at mid-gland"],
              "clinical": {"psa_ng_per_ml": 12.3, "age_years": 68, "prostate_volume_ml": 58}}}

The table has one row per finding, with the columns case, finding, psa_ng_per_ml, age_years, prostate_volume_ml. What a
report counts in a patient without an outline, the key "target", is described in report_target.py.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nnunetv2_textguided.errors import DataError, PromptBankError
from nnunetv2_textguided.files import read_json, write_json
from nnunetv2_textguided.tables import read_table
from nnunetv2_textguided.text.bank import valid_text
from nnunetv2_textguided.text.clinical_facts import CLINICAL, ClinicalFacts, clinical_number
from nnunetv2_textguided.text.keys import check_keys
from nnunetv2_textguided.text.report_target import ReportTarget, parse_target

JSON_NAME, CSV_NAME = "case_text.json", "case_text.csv"
MAX_FINDINGS = 64
"""A case with more sentences is refused: no report lists as many lesions."""

_PIRADS = re.compile(r"\bPI-?\s?RADS(?:\s+(?:category|score|grade))?\s*:?\s*([1-5])\b", re.IGNORECASE)


@dataclass(frozen=True)
class CaseText:
    """What is known of one case.

    Attributes:
        findings: sentences, whitespace-normalised.
        clinical: clinical facts.
        target: what a report counts, to learn from where nobody outlined the lesions; no input of a model.
    """

    findings: tuple[str, ...] = ()
    clinical: ClinicalFacts = field(default_factory=ClinicalFacts)
    target: ReportTarget | None = None

    def __bool__(self) -> bool:
        return bool(self.findings) or bool(self.clinical)

    @property
    def pirads(self) -> int | None:
        """The highest PI-RADS grade that a sentence names; None where none does."""
        return max((grade for grade in map(pirads_of, self.findings) if grade is not None), default=None)

    def to_json(self) -> dict[str, Any]:
        """The entry of case_text.json; what is not known is left out."""
        known = asdict(self.clinical)
        clinical = {name: value for name, value in known.items() if value is not None}
        return {
            **({"findings": list(self.findings)} if self.findings else {}),
            **({"clinical": clinical} if clinical else {}),
            **({"target": self.target.to_json()} if self.target is not None else {}),
        }


def pirads_of(sentence: str) -> int | None:
    """The highest PI-RADS grade that a sentence names; None where it names none."""
    return max(map(int, _PIRADS.findall(sentence)), default=None)


def find_case_text(folder: Path) -> Path | None:
    """The case text beside a dataset.json, if there is one.

    Raises:
        DataError: there are two.
    """
    found = [path for name in (JSON_NAME, CSV_NAME) if (path := folder / name).is_file()]
    if len(found) > 1:
        raise DataError("There are two files of case text.", where=folder, remedy=f"Keep {JSON_NAME} or {CSV_NAME}.")
    return found[0] if found else None


def read_case_text(path: str | Path, cases: Collection[str] | None = None) -> dict[str, CaseText]:
    """Read and check a file of case text, JSON or CSV by its suffix.

    Args:
        path: the file.
        cases: the identifiers that exist; None: whatever the file names is taken to exist.

    Raises:
        DataError: the file cannot be read, names a case or a key that does not exist, or holds a value that no patient
            has; names file, case and remedy.
    """
    path = Path(path)
    is_table = path.suffix.lower() == ".csv"
    entries = _read_csv(path) if is_table else read_json(path, error=DataError, unique_keys=True)
    if not isinstance(entries, Mapping):
        raise DataError("Case text maps case identifiers to entries.", where=path, remedy='{"CASE": {"findings": []}}')
    if cases is not None:
        _check_cases(entries, cases, path)
    return {case: parse_entry(entry, f"{path}, case {case}") for case, entry in entries.items()}


def write_case_text(path: Path, texts: Mapping[str, CaseText]) -> None:
    """Write case_text.json, cases in order, those of which nothing is known left out."""
    entries = {case: texts[case].to_json() for case in sorted(texts)}
    write_json(path, {case: entry for case, entry in entries.items() if entry})


def describe_kinds(texts: Mapping[str, CaseText]) -> str:
    """How many cases have text, and of what kind, in words."""
    known = list(texts.values())
    counts = {
        "with sentences": sum(bool(text.findings) for text in known),
        "with clinical facts": sum(bool(text.clinical) for text in known),
        "with both": sum(bool(text.findings) and bool(text.clinical) for text in known),
    }
    parts = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    return f"{sum(map(bool, known))} cases with text ({parts})"


def parse_entry(entry: Any, where: str) -> CaseText:
    """One case's entry.

    Raises:
        DataError: it is not valid.
    """
    if not isinstance(entry, Mapping):
        raise DataError(f"The entry is {entry!r}.", where=where, remedy='Write {"findings": [...], "clinical": {...}}.')
    check_keys(entry, ("findings", "clinical", "target"), where)
    findings, clinical = entry.get("findings", []), entry.get("clinical", {})
    if not isinstance(findings, list) or len(findings) > MAX_FINDINGS:
        raise DataError(
            f"'findings' is no list of at most {MAX_FINDINGS} sentences.", where=where, remedy='Write ["...", "..."].'
        )
    if not isinstance(clinical, Mapping):
        raise DataError(f"'clinical' is {clinical!r}.", where=where, remedy='Write {"psa_ng_per_ml": 12.3}.')
    check_keys(clinical, tuple(CLINICAL), where)
    try:
        sentences = tuple(valid_text(sentence, where) for sentence in findings)
    except PromptBankError as error:
        raise DataError(error.what, where=where, remedy=error.remedy) from error
    facts = ClinicalFacts(**{key: clinical_number(key, value, where) for key, value in clinical.items()})
    target = parse_target(entry["target"], where) if "target" in entry else None
    return CaseText(sentences, facts, target)


def text_of(
    findings: Sequence[str], psa: float | None, age: float | None, volume: float | None, where: str
) -> CaseText:
    """What is known of one patient: sentences, PSA in ng/mL, age in years, volume of the prostate in mL.

    Raises:
        DataError: a value or a sentence is not valid.
    """
    facts = {"psa_ng_per_ml": psa, "age_years": age, "prostate_volume_ml": volume}
    return parse_entry({"findings": list(findings), "clinical": facts}, where)


def _check_cases(entries: Iterable[str], cases: Collection[str], path: Path) -> None:
    unknown = sorted(set(entries) - set(cases))
    if unknown:
        near = difflib.get_close_matches(unknown[0], list(cases), n=1)
        raise DataError(
            f"{len(unknown)} cases are not in the data set: {', '.join(unknown[:5])}"
            + (", ..." if len(unknown) > 5 else "."),
            where=path,
            remedy=(f"{unknown[0]} looks like {near[0]}. " if near else "")
            + "Name cases by their identifier, without channel number and file ending.",
        )


def _read_csv(path: Path) -> dict[str, Any]:
    """Rows of the table as entries; rows of one case add findings and must agree about everything else."""
    columns = ("case", "finding", *CLINICAL)
    entries: dict[str, Any] = {}
    table = read_table(path, ["case"], remedy=f"Columns: {', '.join(columns)}; saved as CSV in UTF-8.")
    check_keys(table.columns, columns, str(path))
    for row in table.rows:
        _add_row(entries, row.cells, row.where)
    return entries


def _add_row(entries: dict[str, Any], row: dict[str, str], where: str) -> None:
    if not row["case"]:
        raise DataError("The row names no case.", where=where)
    entry = entries.setdefault(row["case"], {"findings": [], "clinical": {}})
    if row.get("finding"):
        entry["findings"].append(row["finding"])
    for key in CLINICAL:
        text = row.get(key, "")
        if not text:
            continue
        try:
            value = float(text)
        except ValueError:
            raise DataError(f"{key} is {text!r}, not a number.", where=where,
                            remedy="Write 12.3, with a point and without a unit.") from None  # fmt: skip
        if entry["clinical"].setdefault(key, value) != value:
            raise DataError(f"Two rows of case {row['case']} differ in {key}.", where=where,
                            remedy="Give it once, or the same value in every row.")  # fmt: skip
