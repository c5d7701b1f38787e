"""In which zone of the prostate a case's lesions lie, by the zone masks of its data set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunetv2_textguided.imaging.grids import check_on_grid
from nnunetv2_textguided.imaging.images import read_mask
from nnunetv2_textguided.processes.pool import run_jobs


@dataclass(frozen=True)
class ZoneJob:
    """One case.

    Attributes:
        case: its identifier.
        label: its reference segmentation.
        mask: its zone mask, on the same grid.
        lesion: values of a lesion in the first.
        zones: name -> value in the second.
    """

    case: str
    label: Path
    mask: Path
    lesion: frozenset[int]
    zones: Mapping[str, int]


def read_lesion_zones(jobs: Iterable[ZoneJob], workers: int) -> dict[str, str]:
    """Case -> zone; empty where a case has no lesion, or where no zone is marked.

    Raises:
        DataError: a mask is damaged, or on another grid than the reference.
    """
    found: dict[str, str] = {}
    for result in run_jobs(_zone_of_case, list(jobs), workers=workers):
        if result.error is not None:
            raise result.error
        found[result.job.case] = result.value or ""
    return found


def _zone_of_case(job: ZoneJob) -> str:
    label, mask = read_mask(job.label), read_mask(job.mask)
    check_on_grid(mask, label, "The zone mask is not on the grid of the label", job.mask)
    lesion = np.isin(sitk.GetArrayFromImage(label), list(job.lesion))
    return lesion_zone(lesion, sitk.GetArrayFromImage(mask), job.zones, label.GetSpacing()[::-1])


def lesion_zone(
    lesion: np.ndarray, mask: np.ndarray, zones: Mapping[str, int], spacing: tuple[float, float, float]
) -> str:
    """The zone that holds most voxels of a lesion; of equal ones the first.

    Zone masks often leave out the lesion, or its rim: there, the nearest voxel of a zone counts.

    Args:
        lesion: Boolean (z, y, x).
        mask: (z, y, x) label map.
        zones: name -> value in `mask`.
        spacing: (z, y, x), mm.

    Returns:
        Its name; empty without a lesion or without a zone.
    """
    known = np.isin(mask, list(zones.values()))
    if not lesion.any() or not known.any():
        return ""
    inside = mask[lesion]
    if not known[lesion].all():
        from scipy.ndimage import distance_transform_edt

        nearest = distance_transform_edt(~known, sampling=spacing, return_distances=False, return_indices=True)
        inside = mask[tuple(axis[lesion] for axis in nearest)]
    return max(zones, key=lambda name: int((inside == zones[name]).sum()))
