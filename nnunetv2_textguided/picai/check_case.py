"""Checking the files of one case of an nnU-Net raw data set. Runs in a worker process."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.imaging.grids import check_on_grid
from nnunetv2_textguided.imaging.images import check_mask_values, check_voxels
from nnunetv2_textguided.imaging.volumes import Volume, load_volume
from nnunetv2_textguided.picai.kinds import ANNOTATED, NEITHER, kind_of
from nnunetv2_textguided.picai.problems import Problem, error, warning

_Mask: TypeAlias = tuple[Volume | None, frozenset[int]]
"""A mask and its values; None and none where it cannot be read."""


@dataclass(frozen=True)
class CheckJob:
    """The files of one case.

    Attributes:
        case: its identifier.
        channels: channel files, in order.
        count: number of channels that dataset.json names.
        reader: nnU-Net's reader of the data set.
        label: the label map.
        values: the values that dataset.json allows.
        lesion_value: the value of csPCa, None where the data set has no such label.
        cspca: the marksheet's verdict, None where it is not known.
        ignored: the value of nnU-Net's ignore label, None where the data set has none.
        counted: how many lesions the case's text counts, None where it counts none.
        anatomy: the label map of what is no class, None where the data set has none.
        anatomy_values: the values that dataset.json allows in it.
        again: what to do about a file that has to be made again.
    """

    case: str
    channels: tuple[Path, ...]
    count: int
    reader: type[Any]
    label: Path
    values: frozenset[int]
    lesion_value: int | None = None
    cspca: bool | None = None
    ignored: int | None = None
    counted: int | None = None
    anatomy: Path | None = None
    anatomy_values: frozenset[int] = frozenset()
    again: str = ""


@dataclass(frozen=True)
class CaseCheck:
    """Findings of one case.

    Attributes:
        case: its identifier.
        problems: what is wrong with it.
        voxels: a hash of its first channel's voxels, empty where it could not be read.
        kind: of KINDS; empty where the label could not be read.
        values: of its label map; empty where that could not be read.
    """

    case: str
    problems: tuple[Problem, ...]
    voxels: str
    kind: str = ""
    values: frozenset[int] = frozenset()


def check_case(job: CheckJob) -> CaseCheck:
    """Check one case; whatever is wrong becomes a problem, nothing is raised."""
    problems: list[Problem] = []
    images: list[Volume] = []
    for path in job.channels:
        try:
            image = load_volume(path, job.reader)
            check_voxels(image.values, path)
            images.append(image)
        except DataError as problem:
            problems.append(_from(problem, path))
    if len(images) == len(job.channels):
        # An unreadable channel is reported; which grid is meant is not known then.
        problems.extend(_check_channels(images, job))
    label, values = _read_mask(job.label, job.values, job, problems)
    kind = ""
    if label is not None:
        kind = _kind(label, job)
        problems.extend(_check_label(label, images[0] if images else None, kind, job))
    if job.anatomy is not None:
        problems.extend(_check_anatomy(job.anatomy, label, job))
    voxels = hashlib.blake2b(np.ascontiguousarray(images[0].values).tobytes()).hexdigest() if images else ""
    return CaseCheck(job.case, tuple(problems), voxels, kind, values)


def _check_channels(images: list[Volume], job: CheckJob) -> list[Problem]:
    found = []
    held = sum(len(image.values) for image in images)
    if held != job.count:
        what = f"The case has {held} channels; dataset.json names {job.count}."
        found.append(error(what, ", ".join(map(str, job.channels)), "Correct channel_names, or convert the images."))
    for image, path in zip(images[1:], job.channels[1:], strict=True):
        found.extend(_check_grid(image, images[0], "The channel is not on the grid of channel 0", path, job.again))
    return found


def _check_grid(image: Volume, reference: Volume, what: str, path: Path, again: str) -> list[Problem]:
    try:
        remark = check_on_grid(image.grid, reference.grid, what, path)
    except DataError as problem:
        return [error(problem.what, path, again or problem.remedy or "")]
    return [] if remark is None else [warning(remark, path, "Look whether the images lie on each other.")]


def _read_mask(path: Path, values: frozenset[int], job: CheckJob, problems: list[Problem]) -> _Mask:
    try:
        mask = load_volume(path, job.reader)
        remedy = "Correct the file, or name the values in dataset.json."
        return mask, check_mask_values(mask.values, path, values, remedy)
    except DataError as problem:
        problems.append(_from(problem, path))
        return None, frozenset()


def _kind(mask: Volume, job: CheckJob) -> str:
    if job.ignored is not None and bool((mask.values == job.ignored).all()):
        return kind_of(False, None if job.counted is None else job.counted > 0)
    lesion = mask.values == job.lesion_value if job.lesion_value is not None else mask.values > 0
    return kind_of(True, bool(lesion.any()))


def _check_label(mask: Volume, reference: Volume | None, kind: str, job: CheckJob) -> list[Problem]:
    found = []
    if kind == NEITHER:
        what = "The case has no outline, and its text counts no lesions: it teaches nothing."
        found.append(warning(what, job.label, 'Give it {"target": {"lesions": 1}} in case_text.json, or remove it.'))
    if reference is not None:
        found.extend(_check_grid(mask, reference, "The label is not on the grid of channel 0", job.label, job.again))
    if job.cspca is not None and job.lesion_value is not None and kind in ANNOTATED:
        has_lesion = bool((mask.values == job.lesion_value).any())
        if has_lesion != job.cspca:
            verdict, content = ("csPCa", "no lesion") if job.cspca else ("no csPCa", "a lesion")
            what = f"cases.csv says {verdict}, the label has {content}."
            found.append(warning(what, job.label, "Look at the case; --contradictions of `picai prepare` has a rule."))
    return found


def _check_anatomy(path: Path, label: Volume | None, job: CheckJob) -> list[Problem]:
    found: list[Problem] = []
    mask, _ = _read_mask(path, job.anatomy_values, job, found)
    if mask is not None and label is not None:  # an unreadable label is reported
        found.extend(_check_grid(mask, label, "The anatomy is not on the grid of the label", path, job.again))
    return found


def _from(problem: DataError, path: Path) -> Problem:
    return error(problem.what, problem.where or path, problem.remedy or "")
