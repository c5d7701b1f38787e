"""Checking an nnU-Net raw data set before anything is trained on it."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nnunetv2_textguided.anatomy.labels import RAW_FOLDER as ANATOMY
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.evaluation.cases import owner_of
from nnunetv2_textguided.files import read_json
from nnunetv2_textguided.nnunet.labels import LESION_LABEL, label_values, read_labels, trainable_labels
from nnunetv2_textguided.nnunet.readers import files_per_case, reader_class
from nnunetv2_textguided.picai.check_anatomy import anatomy_values, check_anatomy
from nnunetv2_textguided.picai.check_case import CaseCheck, CheckJob, check_case
from nnunetv2_textguided.picai.check_folds import check_folds
from nnunetv2_textguided.picai.dataset_files import CASES, OPTIONS, read_cases
from nnunetv2_textguided.picai.kinds import ANNOTATED
from nnunetv2_textguided.picai.problems import Problem, Severity, error, warning
from nnunetv2_textguided.processes.pool import run_jobs
from nnunetv2_textguided.text.case_text import find_case_text, read_case_text

_PREPARE = "Run `nnUNetv2_textguided picai prepare` again; it makes anew what was deleted."


def check_dataset(
    folder: Path,
    *,
    workers: int,
    preprocessed: Path | None = None,
    progress: bool = True,
    kinds: dict[str, str] | None = None,
) -> list[Problem]:
    """Everything that is wrong with a raw data set, errors first.

    Args:
        folder: the data set, with dataset.json.
        workers, progress: processes, and whether to show a progress bar.
        preprocessed: nnUNet_preprocessed; the folds that training will really use lie in there.
        kinds: where to put the kind of each case, of kinds.KINDS.

    Raises:
        DataError: the folder has no readable dataset.json.
    """
    dataset = _dataset_json(folder)
    suffix = dataset["file_ending"]
    images, labels = (_files(folder / part, suffix) for part in ("imagesTr", "labelsTr"))
    first = folder / "imagesTr" / f"{min(images, default='')}{suffix}"
    reader = reader_class(dataset, first)
    channels = files_per_case(reader, first, len(dataset["channel_names"]))
    again = _PREPARE if (folder / OPTIONS).is_file() else ""
    problems = _check_labels(folder, dataset) + _check_names(folder, images, labels, suffix, channels, again)
    problems += check_anatomy(folder, dataset, labels, _files(folder / ANATOMY, suffix))
    table = read_cases(folder / CASES) if (folder / CASES).is_file() else {}
    counted = _counted(folder, problems)
    jobs = [_job(folder, case, channels, reader, dataset, table, counted, again) for case in sorted(labels)]
    jobs = [job for job in jobs if all(p.name[: -len(suffix)] in images for p in job.channels)]
    checked = _check_cases(jobs, workers, progress, problems)
    if kinds is not None:
        kinds |= {check.case: check.kind for check in checked if check.kind}
    problems += _check_taught(checked, dataset, folder) + _check_number(folder, dataset, len(labels), again)
    text_only = {check.case for check in checked if check.kind and check.kind not in ANNOTATED}
    patients = {case: owner_of(case) for case in labels} | {case: row["patient"] for case, row in table.items()}
    problems += check_folds(folder, preprocessed, labels, patients, again, text_only)
    return sorted(problems, key=lambda f: f.severity is not Severity.ERROR)


def _check_number(folder: Path, dataset: dict[str, Any], labels: int, again: str) -> list[Problem]:
    if dataset.get("numTraining") == labels:
        return []
    what = f"dataset.json says {dataset.get('numTraining')} training cases, labelsTr has {labels}."
    return [error(what, folder / "dataset.json", again or "Correct numTraining, or add what is missing.")]


def _dataset_json(folder: Path) -> dict[str, Any]:
    dataset = read_json(folder / "dataset.json", error=DataError, marked=False)
    if not isinstance(dataset, dict) or not {"file_ending", "channel_names", "labels"} <= dataset.keys():
        raise DataError(
            "dataset.json lacks file_ending, channel_names or labels: it is not nnU-Net v2's.",
            where=folder / "dataset.json",
            remedy="Pass the folder of a raw data set, nnUNet_raw/DatasetNNN_NAME.",
        )
    return dataset


def _check_labels(folder: Path, dataset: dict[str, Any]) -> list[Problem]:
    """Labels that can be read but on which no network can be trained; those that cannot be read end the check."""
    where = folder / "dataset.json"
    values = read_labels(dataset, where).map_values
    try:
        regions = trainable_labels(dataset, where).regions
    except DataError as problem:
        return [error(problem.what, problem.where, problem.remedy or "")]
    if regions and sorted(values) != list(range(len(values))):
        what = f"Values are left out: {', '.join(map(str, sorted(values)))}. nnU-Net's --verify_dataset_integrity"
        return [warning(f"{what} refuses them.", where, "Renumber them in dataset.json and in the label maps.")]
    return []


def _files(folder: Path, suffix: str) -> set[str]:
    return {p.name[: -len(suffix)] for p in folder.glob(f"*{suffix}") if not p.name.startswith(".")}


def _check_names(
    folder: Path, images: set[str], labels: set[str], suffix: str, channels: int, again: str
) -> list[Problem]:
    expected = {f"{case}_{i:04d}" for case in labels for i in range(channels)}
    add, remove = again or "Add the file, or take the case out.", again or "Add its label, or move the image away."
    found = [
        error("A channel of the case is missing.", folder / "imagesTr" / f"{name}{suffix}", add)
        for name in sorted(expected - images)
    ]
    found += [
        error("The image belongs to no label.", folder / "imagesTr" / f"{name}{suffix}", remove)
        for name in sorted(images - expected)
    ]
    if not labels:
        found.append(error("The data set has no label.", folder / "labelsTr"))
    leftovers = [p for part in ("imagesTr", "labelsTr", ANATOMY) for p in (folder / part).glob(".*.partial*")]
    found += [error("The file is left from a run that was killed.", path, again or "Delete it.") for path in leftovers]
    return found


def _job(
    folder: Path,
    case: str,
    channels: int,
    reader: type[Any],
    dataset: dict[str, Any],
    table: dict[str, dict[str, str]],
    counted: dict[str, int],
    again: str,
) -> CheckJob:
    verdict, suffix = table.get(case, {}).get("csPCa"), dataset["file_ending"]
    allowed, anatomy = anatomy_values(dataset), folder / ANATOMY / f"{case}{suffix}"
    return CheckJob(
        case=case,
        channels=tuple(folder / "imagesTr" / f"{case}_{i:04d}{suffix}" for i in range(channels)),
        count=len(dataset["channel_names"]),
        reader=reader,
        label=folder / "labelsTr" / f"{case}{suffix}",
        values=label_values(dataset["labels"]),
        lesion_value=dataset["labels"].get(LESION_LABEL),
        cspca=None if verdict is None else verdict == "YES",
        ignored=read_labels(dataset).ignored,
        counted=counted.get(case),
        anatomy=anatomy if allowed and anatomy.is_file() else None,
        anatomy_values=allowed,
        again=again,
    )


def _counted(folder: Path, problems: list[Problem]) -> dict[str, int]:
    """How many lesions the text of each case counts."""
    try:
        path = find_case_text(folder)
        texts = {} if path is None else read_case_text(path)
    except DataError as problem:
        problems.append(error(problem.what, problem.where or folder, problem.remedy or ""))
        return {}
    return {case: text.target.lesions for case, text in texts.items() if text.target is not None}


def _check_cases(jobs: list[CheckJob], workers: int, progress: bool, problems: list[Problem]) -> list[CaseCheck]:
    checked: list[CaseCheck] = []
    results = run_jobs(check_case, jobs, workers=min(workers, len(jobs)))
    for result in tqdm(results, total=len(jobs), desc="checking", unit="case", disable=not progress):
        if result.error is not None:
            problems.append(error(result.error.what, result.error.where or result.job.case))
        elif result.value is not None:
            problems.extend(result.value.problems)
            checked.append(result.value)
    problems.extend(_check_twins(checked))
    return checked


def _check_twins(checked: list[CaseCheck]) -> list[Problem]:
    same_voxels: dict[str, list[str]] = defaultdict(list)
    for check in checked:
        if check.voxels:
            same_voxels[check.voxels].append(check.case)
    twins = [", ".join(sorted(cases)) for cases in same_voxels.values() if len({owner_of(case) for case in cases}) > 1]
    return [error("Different patients have voxel for voxel the same images.", names, "Keep one of them.")
            for names in twins]  # fmt: skip


def _check_taught(checked: list[CaseCheck], dataset: dict[str, Any], folder: Path) -> list[Problem]:
    """Labels of which no case has a voxel."""
    labels = read_labels(dataset)
    found = frozenset[int]().union(*(check.values for check in checked))
    absent = [name for name in labels.foreground if not found & set(labels.values[name])] if found else []
    what = "No label map has a voxel of {}: nothing can be learned of it."
    return [warning(what.format(name), folder / "labelsTr") for name in absent]
