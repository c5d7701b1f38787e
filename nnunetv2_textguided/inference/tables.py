"""Tables of a prediction folder, made from the cases' JSON files, so that parts of a cohort need no other merging."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.files import read_json, write_text
from nnunetv2_textguided.inference.cases import CASES

LESION_COLUMNS = (
    "case", "candidate", "confidence", "volume_ml", "diameter_mm", "centroid_left_mm", "centroid_posterior_mm",
    "centroid_superior_mm", "key_slice", "mean_probability", "peak_probability", "mean_heatmap", "zone",
)  # fmt: skip
CASE_COLUMNS = ("case", "case_likelihood", "candidates", "volume_ml")


def write_tables(folder: Path) -> tuple[int, int]:
    """Write lesions.csv (one row per candidate) and cases.csv (one row per case) of a prediction folder.

    Returns:
        Numbers of cases and candidates.
    """
    records = list(read_records(folder))
    lesions = [_lesion_row(record["case"], c) for record in records for c in record["candidates"]]
    write_text(folder / "lesions.csv", _table(LESION_COLUMNS, lesions))
    write_text(folder / "cases.csv", _table(CASE_COLUMNS, map(_case_row, records)))
    return len(records), len(lesions)


def read_records(folder: Path) -> Iterable[dict[str, Any]]:
    """The cases' JSON files that hold findings, one after the other, by name."""
    for path in sorted((folder / CASES).glob("[!.]*.json")):
        record = read_json(path, error=DataError)
        if "candidates" in record:
            yield record


def _lesion_row(case: str, candidate: dict[str, Any]) -> dict[str, Any]:
    left, posterior, superior = candidate["centroid_lps_mm"]
    place = {"centroid_left_mm": left, "centroid_posterior_mm": posterior, "centroid_superior_mm": superior}
    return {"case": case, **candidate, **place}


def _case_row(record: dict[str, Any]) -> dict[str, Any]:
    candidates = record["candidates"]
    return {**record, "candidates": len(candidates), "volume_ml": sum(c["volume_ml"] for c in candidates)}


def _table(columns: Iterable[str], rows: Iterable[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, tuple(columns), extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _plain(row.get(key)) for key in columns})
    return text.getvalue()


def _plain(value: Any) -> Any:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else value
