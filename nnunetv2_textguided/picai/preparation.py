"""Preparing a data set: plan, prepare what is missing in parallel, write the data set's own files, sum up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from tqdm import tqdm

from nnunetv2_textguided.anatomy.labels import RAW_FOLDER
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.evaluation.cases import patient_of
from nnunetv2_textguided.files import read_json, write_json
from nnunetv2_textguided.nnunet.folders import PREPROCESSED, nnunet_path
from nnunetv2_textguided.nnunet.splits import restrict, with_further
from nnunetv2_textguided.picai import dataset_files
from nnunetv2_textguided.picai.case_job import CaseJob, CaseResult
from nnunetv2_textguided.picai.folds import validation_fold
from nnunetv2_textguided.picai.label_sources import LEFT_OUT, LesionSource, source_label
from nnunetv2_textguided.picai.marksheet import Row
from nnunetv2_textguided.picai.options import PrepareOptions
from nnunetv2_textguided.picai.plan import Plan
from nnunetv2_textguided.picai.prepare_case import prepare_case
from nnunetv2_textguided.picai.records import discard, discard_others, read_all, read_record, write_record
from nnunetv2_textguided.picai.summary import Summary
from nnunetv2_textguided.processes.pool import run_jobs

REPORT = "picai_prepare.json"


def dataset_folder(raw: Path, number: int, name: str) -> Path:
    """The data set's folder `DatasetNNN_<name>` in nnUNet_raw.

    Raises:
        DataError: the number is out of nnU-Net's range, or another data set has it.
    """
    if not 1 <= number <= 9999:
        raise DataError(f"The data set number {number} is not between 1 and 9999.", remedy="Choose another -d.")
    folder = raw / f"Dataset{number:03d}_{name}"
    others = [p for p in raw.glob(f"Dataset{number:03d}_*") if p.is_dir() and p != folder]
    if others:
        raise DataError(
            f"Number {number} is taken by another data set; nnU-Net needs numbers to be unique.",
            where=others[0],
            remedy="Choose another -d, or the same --name.",
        )
    return folder


def prepare_dataset(
    plan: Plan, dataset: Path, options: PrepareOptions, *, workers: int, overwrite: bool, progress: bool = True
) -> Summary:
    """Write the data set that `plan` describes; cases that are up to date are left as they are.

    Args:
        plan: from `make_plan`, for the same folder and options.
        dataset: the raw data set's folder.
        options: what to write.
        workers: processes.
        overwrite: prepare every case again, also with other options than before.
        progress: show a progress bar.

    Raises:
        DataError: another run is writing this data set, or it was made with other options.
    """
    dataset.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(dataset / ".prepare.lock", timeout=0):
            return _prepare_locked(plan, dataset, options, workers, overwrite, progress)
    except Timeout as error:
        raise DataError(
            "Another `picai prepare` is writing this data set.", where=dataset, remedy="Wait until it has finished."
        ) from error


def _prepare_locked(
    plan: Plan, dataset: Path, options: PrepareOptions, workers: int, overwrite: bool, progress: bool
) -> Summary:
    _check_options(dataset, options, overwrite)
    write_json(dataset / dataset_files.OPTIONS, options.stored)
    _remove_partial_files(dataset)
    if overwrite:
        discard_others(dataset, options)
    summary = Summary(skipped=dict(plan.skipped), failed=dict(plan.failed), absent=len(plan.absent))
    waiting = [job for job in plan.jobs.values() if overwrite or read_record(job) is None]
    for job in waiting:
        discard(job)
    _run(waiting, summary, workers, progress)
    on_disk = read_all(dataset, options)
    prepared_now = {job.case for job in waiting}
    for case, (result, _) in on_disk.items():
        if result.remarks:
            summary.remarks[case] = result.remarks
        if result.skipped:
            summary.skipped[case] = result.skipped
        elif case in prepared_now:
            summary.prepared.append(case)
            summary.seconds.append(result.seconds)
        else:
            (summary.up_to_date if case in plan.jobs else summary.kept).append(case)
    _write_dataset(plan, dataset, options, on_disk, summary)
    write_json(dataset / REPORT, summary.as_json())
    return summary


def _run(waiting: list[CaseJob], summary: Summary, workers: int, progress: bool) -> None:
    results = run_jobs(prepare_case, waiting, workers=min(workers, len(waiting)))
    for result in tqdm(results, total=len(waiting), desc="preparing", unit="case", disable=not (progress and waiting)):
        if result.value is not None:
            write_record(result.job, result.value)
        elif result.error is not None:
            summary.failed[result.job.case] = result.error
            discard(result.job)


def _check_options(dataset: Path, options: PrepareOptions, overwrite: bool) -> None:
    path = dataset / dataset_files.OPTIONS
    if overwrite or not path.is_file():
        return
    earlier, now = read_json(path, error=DataError), options.stored
    pairs = {key: (earlier.get(key), now.get(key)) for key in {**earlier, **now}}
    changed = [f"{key}: {_brief(old)} -> {_brief(new)}" for key, (old, new) in pairs.items() if old != new]
    if changed:
        raise DataError(
            f"The data set was made with other options ({'; '.join(changed)}).",
            where=path,
            remedy="Choose another -d, or --overwrite to make it again from the start.",
        )


def _brief(value: Any) -> str:
    return f"{len(value)} cases" if isinstance(value, list) and value and isinstance(value[0], str) else str(value)


def _remove_partial_files(dataset: Path) -> None:
    """Remove what a killed run left: atomic_path's temporary files. The lock says that nobody is writing them."""
    for folder in ("imagesTr", "labelsTr", RAW_FOLDER):
        for path in (dataset / folder).glob(".*.partial*"):
            path.unlink(missing_ok=True)


def _write_dataset(
    plan: Plan,
    dataset: Path,
    options: PrepareOptions,
    on_disk: dict[str, tuple[CaseResult, LesionSource | None]],
    summary: Summary,
) -> None:
    folds = validation_fold(plan.splits)
    written = {case: found for case, found in on_disk.items() if not found[0].skipped}
    unknown = sorted(case for case in written if case not in plan.rows)
    if unknown:
        what = "cases of an earlier run are not in this marksheet and are left out of folds and cases.csv"
        summary.warnings.append(f"{len(unknown)} {what}: {', '.join(unknown[:10])}")
        written = {case: found for case, found in written.items() if case in plan.rows}
    if not written:
        return
    text_only = [case for case, (_, source) in written.items() if source is None]
    outlined = written.keys() - set(text_only)
    rows = [
        _row(plan.rows[case], result, source_label(source), folds[case] if source else None)
        for case, (result, source) in written.items()
    ]
    splits = with_further(restrict(plan.splits, outlined), text_only, patient_of)
    summary.fold_sizes = [(len(fold["train"]), len(fold["val"])) for fold in splits]
    preprocessed = nnunet_path(PREPROCESSED)
    warning = dataset_files.write_splits(dataset, splits, preprocessed / dataset.name if preprocessed else None)
    if warning:
        summary.warnings.append(warning)
    skipped = summary.skipped if options.text_cases else {}
    left = [_row(plan.rows[case], CaseResult(case, remarks=(why,)), LEFT_OUT) for case, why in skipped.items()]
    dataset_files.write_cases(dataset, [*rows, *left])
    dataset_files.write_licence(dataset, rows)
    # Last, because nnU-Net takes a folder with a dataset.json for a complete data set.
    dataset_files.write_dataset_json(dataset, options, len(written))


def _row(row: Row, result: CaseResult, label_source: str, fold: int | None = None) -> dict[str, Any]:
    return {
        "case": row.case,
        "patient": row.patient,
        "study": row.study,
        "fold": fold,
        "centre": row.centre,
        "csPCa": "YES" if row.cspca else "NO",
        "ISUP": row.isup,
        "lesion_ISUP": row.lesion_isup,
        "lesion_GS": row.lesion_gs,
        "PI_RADS": row.pirads,
        "PSA": row.psa,
        "PSAD": row.psad,
        "age": row.age,
        "prostate_volume": row.prostate_volume,
        "label_source": label_source,
        "remarks": "; ".join(result.remarks),
        **result.facts,
    }
