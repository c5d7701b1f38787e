"""What the archive's reports count in cases that have no outline: targets to learn from, never inputs.

The count is pathology's: the marksheet's lesions of ISUP grade 2 or more, and none where case_csPCa is NO. Places are
those of ProstateX's findings that pathology confirmed (ClinSig). Histology may choose targets, as it does with
outlines; the sentences and facts of the same cases (case_text.py) stay free of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from nnunetv2_textguided.anatomy.sectors import DEPTHS, ZONES, Sector
from nnunetv2_textguided.picai.case_text import (
    GLAND_FOLDER,
    PROSTATEX_ZONES,
    Kind,
    archive_case_text,
    findings_by_study,
    locate,
)
from nnunetv2_textguided.picai.dataset_files import CASES, read_cases
from nnunetv2_textguided.picai.label_sources import TEXT_ONLY, source_label
from nnunetv2_textguided.picai.marksheet import Row
from nnunetv2_textguided.picai.plan import Plan
from nnunetv2_textguided.text.case_text import JSON_NAME, CaseText, write_case_text
from nnunetv2_textguided.text.report_target import ReportedLesion, ReportTarget

EARLIER = "case_text.earlier.json"
SIGNIFICANT = 2
"""The lowest ISUP grade of clinically significant cancer."""


def reported_lesions(row: Row) -> int | None:
    """How many lesions of csPCa a study has by the marksheet; None where it cannot be told."""
    if not row.cspca:
        return 0
    grades = [grade.strip() for grade in row.lesion_isup.split(",")]
    if not all(grade.isdecimal() for grade in grades):
        return None
    return sum(int(grade) >= SIGNIFICANT for grade in grades) or None


def texts_and_targets(
    plan: Plan, dataset: Path, labels: Path, kinds: Collection[Kind], table: Path | None
) -> tuple[dict[str, CaseText], list[str]]:
    """What case_text.json says of the cases that the plan prepares or that the data set holds from earlier runs.

    Args:
        plan: whose cases without a mask get targets.
        dataset: the data set's folder.
        labels: checkout of picai_labels.
        kinds: of text, for every case.
        table: ProstateX's table of findings; None: nothing is said of places.

    Returns:
        Text by case, and remarks on what was left out.

    Raises:
        DataError: the marksheet, the table or a gland mask is not what it should be.
    """
    earlier = read_cases(dataset / CASES) if (dataset / CASES).is_file() else {}
    sources = {case: row.get("label_source") for case, row in earlier.items() if case in plan.rows}
    sources |= {case: source_label(job.source) for case, job in plan.jobs.items()}
    texts, remarks = archive_case_text(plan.rows, sources, labels, kinds, table)
    text_only = [case for case, source in sources.items() if source == TEXT_ONLY]
    targets, more = report_targets(plan.rows, text_only, labels, table)
    texts |= {case: replace(texts.get(case, CaseText()), target=target) for case, target in targets.items()}
    return texts, remarks + more


def write_texts(texts: Mapping[str, CaseText] | None, dataset: Path, overwrite: bool) -> list[str]:
    """Write case_text.json for the cases that the data set holds.

    Args:
        texts: by case; None: none was asked for.
        dataset: the data set's folder.
        overwrite: whether the data set was made again, so that a file of earlier text is about other cases; it is
            renamed then, as somebody may have edited it.

    Returns:
        Lines to print.
    """
    path = dataset / JSON_NAME
    if texts is None:
        if not (overwrite and path.is_file()):
            return []
        path.replace(dataset / EARLIER)
        return [f"{JSON_NAME} of the earlier preparation is now {EARLIER}: no text was asked for."]
    if not (dataset / CASES).is_file():
        return []
    cases = read_cases(dataset / CASES)
    texts = {case: text for case, text in texts.items() if case in cases}
    write_case_text(path, texts)
    sentences = sum(bool(text.findings) for text in texts.values())
    clinical = sum(bool(text.clinical) for text in texts.values())
    targets = sum(text.target is not None for text in texts.values())
    line = f"{JSON_NAME}: {sentences} of {len(cases)} cases with sentences, {clinical} with clinical facts"
    return [line + (f", {targets} whose lesions are counted" if targets else "")]


def report_targets(
    rows: Mapping[str, Row], cases: Collection[str], labels: Path, table: Path | None
) -> tuple[dict[str, ReportTarget], list[str]]:
    """The targets of cases that have no outline.

    Args:
        rows: the marksheet.
        cases: their identifiers; those whose lesions are not counted get no target.
        labels: checkout of picai_labels.
        table: ProstateX's table of findings; None: nothing is said of places.

    Returns:
        Case -> target, and remarks on findings that are not used.

    Raises:
        DataError: the table, the archive's mapping of its patients, or a gland mask is not what it should be.
    """
    counts = {case: count for case in cases if (count := reported_lesions(rows[case])) is not None}
    targets = {case: ReportTarget(count) for case, count in counts.items()}
    remarks: list[str] = []
    found = {} if table is None else findings_by_study(table, labels, counts, significant=True)
    for case, findings in found.items():
        if len(findings) > counts[case]:
            remarks.append(f"{case}: {len(findings)} findings of ProstateX for {counts[case]} lesions: places not used")
            continue
        places, new = locate(findings, labels / GLAND_FOLDER / f"{case}.nii.gz")
        remarks += new
        lesions = (ReportedLesion(_within_zones(place)) for place in places)
        targets[case] = ReportTarget(counts[case], tuple(lesion for lesion in lesions if lesion.located))
    return targets, remarks


def _within_zones(place: Sector) -> Sector:
    """The place in words that zone masks have: the anterior stroma is no zone of theirs but lies anterior."""
    if place.zone in ZONES:
        return place
    anterior = place.zone == PROSTATEX_ZONES["AS"]
    return place._replace(zone=None, depth=DEPTHS[0] if anterior else None)
