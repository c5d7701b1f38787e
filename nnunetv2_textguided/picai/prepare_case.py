"""Preparing one case: read, verify, bring onto one grid, write. Runs in a worker process."""

from __future__ import annotations

import time
from typing import Any

import SimpleITK as sitk

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.evaluation.lesions import Lesions, measure, volume_ml
from nnunetv2_textguided.extras import require
from nnunetv2_textguided.files import atomic_path
from nnunetv2_textguided.imaging.geometry import centred_on
from nnunetv2_textguided.imaging.images import mask_values
from nnunetv2_textguided.nnunet.labels import IGNORE
from nnunetv2_textguided.picai import zones as zone_masks
from nnunetv2_textguided.picai.case_job import CaseJob, CaseResult
from nnunetv2_textguided.picai.case_volumes import CaseVolumes, check_lesions, read_case
from nnunetv2_textguided.picai.contradictions import Action, contradiction, decide


def prepare_case(job: CaseJob) -> CaseResult:
    """Prepare one case and write its files.

    Raises:
        DataError: an input is missing, damaged or does not fit; a lesion would be lost.
    """
    start = time.perf_counter()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)  # the cases are what runs in parallel
    volumes = read_case(job)
    # A text-only case has no mask that could contradict the marksheet.
    has_lesion = bool(mask_values(volumes.lesion)) if job.lesion is not None else job.cspca
    conflict = contradiction(cspca=job.cspca, has_lesion=has_lesion)
    action = decide(job.options.contradictions, cspca=job.cspca, has_lesion=has_lesion)
    if action is Action.EXCLUDE:
        reason = f"{conflict} (rule: {job.options.contradictions.value})"
        return CaseResult(job.case, skipped=reason, seconds=time.perf_counter() - start)
    if conflict:
        volumes.remarks.append(f"{conflict}; {action.value}")
    if action is Action.EMPTY:
        volumes.lesion = volumes.lesion * 0
    before = measure(volumes.lesion)
    facts = _facts(volumes, before if job.lesion is not None else None)
    images = _resample(job, volumes, before)
    for image, path in zip(images, job.outputs, strict=True):
        with atomic_path(path) as temporary:
            sitk.WriteImage(image, str(temporary), useCompression=True)
    facts |= {"spacing_zyx": _zyx(images[0].GetSpacing()), "size_zyx": _zyx(images[0].GetSize())}
    return CaseResult(job.case, None, facts, tuple(volumes.remarks), time.perf_counter() - start)


def _facts(volumes: CaseVolumes, lesions: Lesions | None) -> dict[str, Any]:
    return {
        "lesions": None if lesions is None else lesions.count,
        "lesion_ml": None if lesions is None else round(lesions.millilitres, 4),
        "gland_ml": None if volumes.gland is None else round(volume_ml(volumes.gland), 3),
        "zone_source": "" if volumes.zones is None else volumes.zones.source,
        "zone_gland_dice": None
        if volumes.zones is None or volumes.zones.gland_dice is None
        else round(volumes.zones.gland_dice, 4),
    }


def _resample(job: CaseJob, volumes: CaseVolumes, before: Lesions) -> list[sitk.Image]:
    """Run picai_prep's preprocessing; returns the images in the order of `job.outputs`."""
    preprocessing = require("picai_prep.preprocessing")
    options = job.options
    zones = volumes.zones.mask if volumes.zones is not None else None
    scans, lesion = volumes.scans, volumes.lesion
    if options.crop_centre == "gland":
        centre = _gland_centre(job, volumes.gland)
        scans = [centred_on(scan, centre) for scan in scans]
        lesion = centred_on(lesion, centre)
        zones = None if zones is None else centred_on(zones, centre)
    settings = preprocessing.PreprocessingSettings(matrix_size=options.matrix_size, spacing=options.spacing)
    sample = preprocessing.Sample(scans=scans, lbl=lesion, seg=zones, settings=settings, name=job.case)
    try:
        sample.preprocess()
    except AssertionError:
        # picai_prep asserts that the number of lesions is unchanged; check_lesions says it to the user.
        check_lesions(before, measure(sample.lbl), job, "resampling and cropping")
        raise
    after = measure(sample.lbl)
    check_lesions(before, after, job, "resampling and cropping")
    if before.count and abs(after.millilitres / before.millilitres - 1) > 0.1:
        volumes.remarks.append(
            f"resampling and cropping changed the lesion from {before.millilitres:.2f} to {after.millilitres:.2f} mL"
        )
    return [*sample.scans, *_label_maps(sample.lbl, sample.seg, job)]


def _label_maps(lesion: sitk.Image, zones: sitk.Image | None, job: CaseJob) -> list[sitk.Image]:
    """The label map, and after it the anatomy where the zones are no classes of the label map."""
    # The anatomy keeps the zones under lesions: whoever trains on it decides what a lesion's voxels count as.
    anatomy = [zones] if zones is not None and job.options.anatomy else []
    if job.lesion is None:
        return [lesion * 0 + job.options.labels[IGNORE], *anatomy]
    return [lesion if zones is None or anatomy else zone_masks.compose(zones, lesion), *anatomy]


def _gland_centre(job: CaseJob, gland: sitk.Image | None) -> tuple[float, float, float]:
    if gland is None or not mask_values(gland):
        raise DataError(
            "The crop is to be centred on the gland, but the case has no whole-gland mask, or an empty one.",
            where=job.gland or job.case,
            remedy="Update the checkout of picai_labels, or use --crop-centre image.",
        )
    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.Execute(gland)
    box = shape.GetBoundingBox(1)
    middle = [start + (size - 1) / 2 for start, size in zip(box[:3], box[3:], strict=True)]
    return gland.TransformContinuousIndexToPhysicalPoint(middle)


def _zyx(values: tuple[float, ...]) -> str:
    return " ".join(f"{round(v, 6):g}" for v in reversed(values))
