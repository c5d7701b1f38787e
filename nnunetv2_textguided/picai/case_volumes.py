"""Reading and verifying the volumes of one case, masks on the T2W grid."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import SimpleITK as sitk

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.evaluation.lesions import Lesions, measure
from nnunetv2_textguided.imaging.geometry import check_axial, check_same_anatomy, mask_onto
from nnunetv2_textguided.imaging.images import mask_values, read_mask, read_volume
from nnunetv2_textguided.picai import zones as zone_masks
from nnunetv2_textguided.picai.case_job import CaseJob
from nnunetv2_textguided.picai.contradictions import grade_mismatch

# Median ADC in a prostate, in 1e-6 mm2/s: about 1000 to 1600. Far outside of this the map has another unit, or the
# file is not an ADC map.
PLAUSIBLE_ADC = (300.0, 3500.0)
_UPDATE = "Check that this is the right file; update the checkout of picai_labels."


@dataclass
class CaseVolumes:
    """A case on its way: scans in channel order, masks on the T2W grid (no lesion in text-only cases), remarks."""

    scans: list[sitk.Image]
    lesion: sitk.Image
    gland: sitk.Image | None = None
    zones: zone_masks.ZoneChoice | None = None
    remarks: list[str] = field(default_factory=list)


def read_case(job: CaseJob) -> CaseVolumes:
    """Read every input of a case and bring its masks onto the T2W grid.

    Raises:
        DataError: an input is missing or damaged, or does not fit the T2W series.
    """
    scans = [_not_double(read_volume(path)) for path in job.images]
    check_axial(scans[0], job.images[0])
    for scan, path in zip(scans[1:], job.images[1:], strict=True):
        check_same_anatomy(scan, scans[0], path)
    volumes = CaseVolumes(scans, _empty(scans[0]))
    if job.lesion is not None and job.source is not None:
        mask = read_mask(job.lesion, job.source.values, _UPDATE)
        mismatch = grade_mismatch(mask_values(mask), job.isup)
        if mismatch:
            volumes.remarks.append(mismatch)
        volumes.lesion = _lesion_onto_t2w(job, mask > 0, volumes)
    if job.gland is not None:
        volumes.gland = _onto_t2w(volumes, read_mask(job.gland) > 0, "whole-gland mask")
    if job.options.needs_zones:
        volumes.zones = _zones(job, volumes)
    _remark_on_adc(volumes)
    return volumes


def _not_double(image: sitk.Image) -> sitk.Image:
    return sitk.Cast(image, sitk.sitkFloat32) if image.GetPixelID() == sitk.sitkFloat64 else image


def _onto_t2w(volumes: CaseVolumes, mask: sitk.Image, name: str) -> sitk.Image:
    moved, how = mask_onto(mask, volumes.scans[0])
    if how:
        volumes.remarks.append(f"{name} {how}")
    return moved


def _empty(scan: sitk.Image) -> sitk.Image:
    empty = sitk.Image(scan.GetSize(), sitk.sitkUInt8)
    empty.CopyInformation(scan)
    return empty


def _lesion_onto_t2w(job: CaseJob, lesion: sitk.Image, volumes: CaseVolumes) -> sitk.Image:
    before = measure(lesion)
    moved = _onto_t2w(volumes, lesion, "lesion mask")
    check_lesions(before, measure(moved), job, "resampling the mask onto the T2W grid")
    return moved


def _zones(job: CaseJob, volumes: CaseVolumes) -> zone_masks.ZoneChoice:
    if not job.zones:
        raise DataError(
            "The case has no zone mask.",
            where=f"{job.case} ({job.options.zone_source})",
            remedy="Update the checkout of picai_labels, choose another --zone-source, or use --classes lesion.",
        )
    candidates = []
    for source, path in job.zones.items():
        mask, how = mask_onto(read_mask(path, zone_masks.ZONE_VALUES, _UPDATE), volumes.scans[0])
        agreement = None if volumes.gland is None else zone_masks.dice(mask, volumes.gland)
        remarks = [f"zone mask {how}"] if how else []
        if agreement is not None and agreement < 0.8:
            remarks.append(f"zone and whole-gland mask agree poorly (Dice {agreement:.2f})")
        candidates.append(zone_masks.ZoneChoice(mask, source, agreement, tuple(remarks)))
    chosen = zone_masks.choose_zones(candidates)
    volumes.remarks.extend(chosen.remarks)
    return chosen


def _remark_on_adc(volumes: CaseVolumes) -> None:
    if volumes.gland is None:
        return
    adc = sitk.GetArrayFromImage(sitk.Resample(volumes.scans[1], volumes.gland, sitk.Transform(), sitk.sitkLinear))
    values = adc[(sitk.GetArrayViewFromImage(volumes.gland) != 0) & (adc > 0)]
    median = float(np.median(values)) if values.size else 0.0
    if not PLAUSIBLE_ADC[0] <= median <= PLAUSIBLE_ADC[1]:
        volumes.remarks.append(
            f"median ADC in the gland is {median:.0f}, implausible in 1e-6 mm2/s: another unit, or not an ADC map"
        )


def check_lesions(before: Lesions, after: Lesions, job: CaseJob, step: str) -> None:
    """Raise DataError unless `step` left the number of lesions as it was."""
    if before.count == after.count:
        return
    raise DataError(
        f"The mask of {job.case} has {before.count} lesions before {step} and {after.count} after.",
        where=job.lesion,
        remedy="Prepare with a finer --spacing or a larger --matrix-size (or --crop-centre gland), "
        "or leave the case out.",
    )
