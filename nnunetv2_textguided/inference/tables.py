"""Tables of a prediction folder, made from the cases' JSON files, so that parts of a cohort need no other merging."""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.files import atomic_path, read_json, visible
from nnunetv2_textguided.inference.cases import CASES

LESION_COLUMNS = (
    "case", "candidate", "confidence", "volume_ml", "diameter_mm", "centroid_left_mm", "centroid_posterior_mm",
    "centroid_superior_mm", "key_slice", "mean_probability", "peak_probability", "mean_heatmap", "zone",
    "outside_gland", "from_text",
)  # fmt: skip
CASE_COLUMNS = (
    "case", "case_likelihood", "combined_likelihood", "combined_from", "candidates", "volume_ml", "outside_gland",
    "training_distance", "unlike_training", "refiner_added_voxels", "refiner_removed_voxels", "likelihood_without_text",
    "volume_without_text_ml", "contradicted_sentences", "remarks",
)  # fmt: skip
SENTENCE_COLUMNS = (
    "case", "number", "sentence", "grounded_ml", "peak_without_text", "contradicted", "volume_change_ml",
    "likelihood_change", "candidates_from_it", "map",
)  # fmt: skip


def write_tables(folder: Path) -> tuple[int, int]:
    """Write lesions.csv, lesions.json (a row per candidate) and cases.csv (one per case) of a prediction folder.

    Where a case was predicted with text, sentences.csv has a row per sentence. Case by case, so that memory does not
    follow the cohort.

    Returns:
        Numbers of cases and candidates.
    """
    cases = lesions = 0
    with (
        _table(folder / "cases.csv", CASE_COLUMNS) as write_case,
        _table(folder / "lesions.csv", LESION_COLUMNS) as write_lesion,
        _json_list(folder / "lesions.json") as list_lesion,
    ):
        for record in read_records(folder):
            write_case(_case_row(record))
            for candidate in record["candidates"]:
                write_lesion(_lesion_row(record["case"], candidate))
                list_lesion({"case": record["case"], **candidate})
            cases, lesions = cases + 1, lesions + len(record["candidates"])
    _write_sentences(folder)
    return cases, lesions


def read_records(folder: Path) -> Iterable[dict[str, Any]]:
    """The cases' JSON files that hold findings, one after the other, by name."""
    for path in visible(folder / CASES, "*.json"):
        record = read_json(path, error=DataError)
        if "candidates" in record:
            yield record


def _lesion_row(case: str, candidate: dict[str, Any]) -> dict[str, Any]:
    left, posterior, superior = candidate["centroid_lps_mm"]
    place = {"centroid_left_mm": left, "centroid_posterior_mm": posterior, "centroid_superior_mm": superior}
    return {"case": case, **candidate, **place}


def _case_row(record: dict[str, Any]) -> dict[str, Any]:
    candidates = record["candidates"]
    edits = record.get("refiner_edits", {}).get(record.get("label"), {})
    outside = [c["outside_gland"] for c in candidates if c.get("outside_gland") is not None]
    return {
        **record,
        "combined_from": " + ".join(record.get("combined_from", ())),
        "candidates": len(candidates),
        "volume_ml": sum(c["volume_ml"] for c in candidates),
        "outside_gland": sum(outside) if outside else None,
        **_text_row(record.get("text")),
        "refiner_added_voxels": edits.get("added"),
        "refiner_removed_voxels": edits.get("removed"),
        "remarks": " | ".join(record.get("remarks", ())),
    }


def _text_row(text: Mapping[str, Any] | None) -> dict[str, Any]:
    if text is None:
        return {}
    without = text["without"]
    return {
        "likelihood_without_text": without["case_likelihood"],
        "volume_without_text_ml": without["volume_ml"],
        "contradicted_sentences": sum(bool(one["contradicted"]) for one in text["sentences"]),
    }


def _write_sentences(folder: Path) -> None:
    def told() -> Iterator[dict[str, Any]]:
        return (record for record in read_records(folder) if record.get("text", {}).get("sentences"))

    if next(told(), None) is None:
        (folder / "sentences.csv").unlink(missing_ok=True)
        return
    with _table(folder / "sentences.csv", SENTENCE_COLUMNS) as write:
        for record in told():
            for number, one in enumerate(record["text"]["sentences"], start=1):
                candidates = " ".join(map(str, one["candidates_from_it"]))
                write({"case": record["case"], "number": number, **one, "candidates_from_it": candidates})


@contextlib.contextmanager
def _table(path: Path, columns: Sequence[str]) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A function that appends a row to a table, which appears when the block has succeeded."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        yield lambda row: writer.writerow({key: _plain(row.get(key)) for key in columns})


@contextlib.contextmanager
def _json_list(path: Path) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A function that appends an object, on a line of its own, to a JSON array; appears as tables do."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        separators = itertools.chain(["[\n"], itertools.repeat(",\n"))
        yield lambda row: print(next(separators) + json.dumps(row, ensure_ascii=False), end="", file=stream)
        stream.write("[]\n" if next(separators) == "[\n" else "\n]\n")


def _plain(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4f}" if isinstance(value, float) else value
