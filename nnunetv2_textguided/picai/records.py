"""What has been prepared already: one small record per case, written last, so that a run can be resumed.

A case is up to date if its record names the same options and the same inputs (size and time of change), and its
outputs are there with the size they had. Failures leave no record: they are tried again.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.files import read_json, visible, write_json
from nnunetv2_textguided.picai.case_job import CaseJob, CaseResult
from nnunetv2_textguided.picai.label_sources import LesionSource
from nnunetv2_textguided.picai.options import PrepareOptions

FOLDER = "picai_cases"
_FORMAT = 1


def _path(dataset: Path, case: str) -> Path:
    return dataset / FOLDER / f"{case}.json"


def write_record(job: CaseJob, result: CaseResult) -> None:
    """Record that `job` is done."""
    written = [] if result.skipped else job.outputs
    write_json(
        _path(job.dataset, job.case),
        {
            "format": _FORMAT,
            "options": job.options.fingerprint,
            "source": _name(job.source),
            "inputs": {str(p): _stamp(p) for p in job.inputs},
            "outputs": {p.relative_to(job.dataset).as_posix(): p.stat().st_size for p in written},
            "result": asdict(result),
        },
    )


def read_record(job: CaseJob) -> CaseResult | None:
    """The result of an earlier run, if it is up to date; None where the case has to be prepared."""
    record = _load(_path(job.dataset, job.case), job.dataset, job.options)
    if record is None or record["source"] != _name(job.source) or record["inputs"] != _stamps(job.inputs):
        return None
    return _result(record)


def read_all(dataset: Path, options: PrepareOptions) -> dict[str, tuple[CaseResult, LesionSource | None]]:
    """Every case that is whole in `dataset` and was made with `options`, with its label source (None: text-only)."""
    records = (_load(path, dataset, options) for path in visible(dataset / FOLDER, "*.json"))
    made = [record for record in records if record is not None]
    return {r["result"]["case"]: (_result(r), LesionSource[r["source"]] if r["source"] else None) for r in made}


def discard_others(dataset: Path, options: PrepareOptions) -> None:
    """Remove the cases that were made with other options: nnU-Net takes every image of the folder for a case."""
    for path in visible(dataset / FOLDER, "*.json"):
        record = _read(path)
        if record is not None and record["options"] != options.fingerprint:
            path.unlink()
            for name in record["outputs"]:
                (dataset / name).unlink(missing_ok=True)


def _name(source: LesionSource | None) -> str | None:
    return None if source is None else source.name


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        record: dict[str, Any] = read_json(path, error=DataError)
    except DataError:
        return None  # a damaged record only costs preparing the case again
    return record if record.get("format") == _FORMAT else None


def _load(path: Path, dataset: Path, options: PrepareOptions) -> dict[str, Any] | None:
    record = _read(path)
    if record is None or record["options"] != options.fingerprint:
        return None
    if any(_size(dataset / name) != size for name, size in record["outputs"].items()):
        return None
    return record


def _result(record: dict[str, Any]) -> CaseResult:
    return CaseResult(**{**record["result"], "remarks": tuple(record["result"]["remarks"])})


def discard(job: CaseJob) -> None:
    """Remove the record first, then the outputs: a half-removed case is one that has to be prepared."""
    _path(job.dataset, job.case).unlink(missing_ok=True)
    # The anatomy also where these options write none: `--overwrite` may follow a run whose options did.
    for path in {*job.outputs, job.anatomy_file}:
        path.unlink(missing_ok=True)


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _stamps(paths: tuple[Path, ...]) -> dict[str, list[int]] | None:
    try:
        return {str(p): _stamp(p) for p in paths}
    except OSError:
        return None


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
