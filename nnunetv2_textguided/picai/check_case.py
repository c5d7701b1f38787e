"""Checking the files of one case of an nnU-Net raw data set. Runs in a worker process."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.imaging.geometry import compare_grids
from nnunetv2_textguided.imaging.images import mask_values, read_mask, read_volume
from nnunetv2_textguided.picai.findings import Finding, error, warning

# Prepared channels share one grid exactly; only the rounding of a NIfTI header may remain.
CHANNEL_TOLERANCE_VOXELS = 0.05


@dataclass(frozen=True)
class CheckJob:
    """The files of one case.

    Attributes:
        case: its identifier.
        channels: channel files, in order.
        label: the label map.
        values: the values that dataset.json allows.
        lesion_value: the value of csPCa, None where the data set has no such label.
        cspca: the marksheet's verdict, None where it is not known.
        anatomy: the label map of what is no class, None where the data set has none.
        anatomy_values: the values that dataset.json allows in it.
    """

    case: str
    channels: tuple[Path, ...]
    label: Path
    values: frozenset[int]
    lesion_value: int | None = None
    cspca: bool | None = None
    anatomy: Path | None = None
    anatomy_values: frozenset[int] = frozenset()


@dataclass(frozen=True)
class CaseCheck:
    """Findings of one case, and a hash of its first channel's voxels (empty where it could not be read)."""

    case: str
    findings: tuple[Finding, ...]
    voxels: str


def check_case(job: CheckJob) -> CaseCheck:
    """Check one case; every problem is a finding, none is raised."""
    findings: list[Finding] = []
    images: list[sitk.Image] = []
    for path in job.channels:
        try:
            images.append(read_volume(path))
        except DataError as problem:
            findings.append(_from(problem, path))
    findings.extend(_check_grids(images, job))
    label = _read_mask(job.label, job.values, findings)
    if label is not None:
        findings.extend(_check_label(label, images[0] if images else None, job))
    if job.anatomy is not None:
        findings.extend(_check_anatomy(job.anatomy, label, job))
    voxels = hashlib.blake2b(sitk.GetArrayFromImage(images[0]).tobytes()).hexdigest() if images else ""
    return CaseCheck(job.case, tuple(findings), voxels)


def _check_grids(images: list[sitk.Image], job: CheckJob) -> list[Finding]:
    if len(images) != len(job.channels):
        return []  # an unreadable channel is reported; which grid is meant is not known
    found = []
    for image, path in zip(images[1:], job.channels[1:], strict=True):
        found.extend(_check_grid(image, images[0], "The channel is not on the grid of channel 0", path))
    return found


def _check_grid(image: sitk.Image, reference: sitk.Image, what: str, path: Path) -> list[Finding]:
    difference = compare_grids(image, reference)
    if difference.same_size and difference.voxels <= CHANNEL_TOLERANCE_VOXELS:
        return []
    return [error(f"{what}: {difference}.", path, _AGAIN)]


def _read_mask(path: Path, values: frozenset[int], findings: list[Finding]) -> sitk.Image | None:
    try:
        return read_mask(path, values)
    except DataError as problem:
        findings.append(_from(problem, path))
        return None


def _check_label(mask: sitk.Image, reference: sitk.Image | None, job: CheckJob) -> list[Finding]:
    found = []
    if reference is not None:
        found.extend(_check_grid(mask, reference, "The label is not on the grid of channel 0", job.label))
    if job.cspca is not None and job.lesion_value is not None:
        has_lesion = job.lesion_value in mask_values(mask)
        if has_lesion != job.cspca:
            verdict, content = ("csPCa", "no lesion") if job.cspca else ("no csPCa", "a lesion")
            what = f"cases.csv says {verdict}, the label has {content}."
            found.append(warning(what, job.label, "Look at the case; --contradictions of `picai prepare` has a rule."))
    return found


def _check_anatomy(path: Path, label: sitk.Image | None, job: CheckJob) -> list[Finding]:
    found: list[Finding] = []
    mask = _read_mask(path, job.anatomy_values, found)
    if mask is not None and label is not None:  # an unreadable label is reported
        found.extend(_check_grid(mask, label, "The anatomy is not on the grid of the label", path))
    return found


_AGAIN = "Prepare the case again: delete this file and run `nnUNetv2_textguided picai prepare`."


def _from(problem: DataError, path: Path) -> Finding:
    return error(problem.what, problem.where or path, problem.remedy or "")
