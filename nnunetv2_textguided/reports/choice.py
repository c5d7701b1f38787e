"""Which of a model's candidates a report confirms.

Bosma et al., "Semisupervised learning with report-guided pseudo labels for deep learning-based prostate cancer
detection using biparametric MRI", Radiology: Artificial Intelligence 2023: as many candidates as the report counts
lesions, the most confident first; a case with fewer candidates is left out. Here a finding's place and size, where they
are told, narrow down which candidate it can be.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt

from nnunetv2_textguided.anatomy.sectors import values_within
from nnunetv2_textguided.reports.words import Word
from nnunetv2_textguided.text.report_target import ReportedLesion, ReportTarget

TOLERANCE_MM = 5.0
"""How far outside of the reported sector a candidate's voxels may lie: readers and planes of sectors differ by that."""
INSIDE = 0.5
"""Share of a candidate's voxels that has to lie in the reported sector and its margin."""
FACTOR = 2.0
"""A candidate's diameter may differ from the reported one by this factor."""


@dataclass(frozen=True)
class Found:
    """One candidate.

    Attributes:
        number: its value in the map of candidates.
        confidence: the model's.
        diameter_mm: largest diameter, mm.
    """

    number: int
    confidence: float
    diameter_mm: float


@dataclass(frozen=True)
class Choice:
    """What a report makes of the candidates.

    Attributes:
        numbers: of the candidates that it confirms; None: it cannot be told, the case is left out.
        reason: why it is left out, or what was not used; empty: nothing to say.
        unmatched: findings that no candidate fits, whose place is known; none unless they are to be kept.
    """

    numbers: tuple[int, ...] | None
    reason: str = ""
    unmatched: tuple[ReportedLesion, ...] = ()


def choose(
    found: Sequence[Found],
    target: ReportTarget,
    words: Collection[Word],
    numbers: np.ndarray,
    sectors: np.ndarray | None,
    spacing: tuple[float, ...],
    keep_unmatched: bool = False,
) -> Choice:
    """The candidates that a report confirms.

    Args:
        found, target: the candidates, and what the report counts.
        words: which of its words count; the number of lesions always does.
        numbers: (Z, Y, X) map of the candidates' numbers, 0 elsewhere.
        sectors: (Z, Y, X) map of SECTORS' values; None: there are no zones, so nothing can be said of places.
        spacing: (z, y, x) of a voxel, mm.
        keep_unmatched: keep findings that no candidate fits, if their place is known, instead of leaving the case out.
    """
    free = sorted(found, key=lambda one: (-one.confidence, one.number))
    chosen: list[int] = []
    unmatched: list[ReportedLesion] = []
    unused = sectors is None and "sector" in words and any(one.located for one in target.findings)
    # The narrowest finding first: it has the fewest candidates to choose from.
    for finding in sorted(target.findings, key=lambda one: -_said(one)):
        place = place_of(finding, sectors, spacing) if "sector" in words else None
        sized = free if "diameter" not in words else [one for one in free if _has_size(one, finding, min(spacing))]
        fitting = [one for one in sized if place is None or place[numbers == one.number].mean() >= INSIDE]
        if not fitting and keep_unmatched and place is not None and place.any():
            unmatched.append(finding)
            continue
        if not fitting:
            return Choice(None, f"no candidate fits the finding {finding.to_json()}")
        chosen.append(fitting[0].number)
        free.remove(fitting[0])
    missing = target.lesions - len(chosen) - len(unmatched)
    if missing > len(free):
        return Choice(None, f"{len(found)} candidates for {target.lesions} reported lesions")
    chosen += [one.number for one in free[:missing]]
    return Choice(tuple(sorted(chosen)), "places not used: no zones" if unused else "", tuple(unmatched))


def misfit(target: ReportTarget, sectors: np.ndarray, spacing: tuple[float, ...]) -> str:
    """What a report says that cannot be in this patient's zones; empty: all of it can be.

    Args:
        target: what the report counts.
        sectors: (Z, Y, X) map of SECTORS' values.
        spacing: (z, y, x) of a voxel, mm.
    """
    places = np.argwhere(sectors > 0)
    extent = (np.ptp(places, axis=0) + 1) * spacing if len(places) else np.zeros(3)
    longest = float(np.linalg.norm(extent)) + 2 * TOLERANCE_MM
    for finding in target.findings:
        if finding.located and not np.isin(sectors, values_within(finding.sector)).any():
            return f"a finding in the {finding.sector}, where the zone mask has no voxel"
        if finding.diameter_mm is not None and len(places) and finding.diameter_mm > longest:
            return f"a finding of {finding.diameter_mm:g} mm; the zone mask measures {longest:.0f} mm"
    held = len(np.unique(sectors[sectors > 0]))
    return f"{target.lesions} lesions; the zone mask has {held} sectors" if held and target.lesions > held else ""


def _said(finding: ReportedLesion) -> int:
    return finding.words_of_place + (finding.diameter_mm is not None)


def _has_size(one: Found, finding: ReportedLesion, voxel_mm: float) -> bool:
    if finding.diameter_mm is None:
        return True
    return 1 / FACTOR <= max(one.diameter_mm, voxel_mm) / finding.diameter_mm <= FACTOR


def place_of(finding: ReportedLesion, sectors: np.ndarray | None, spacing: tuple[float, ...]) -> np.ndarray | None:
    """(Z, Y, X) where a finding can be; None: anywhere, or it cannot be told."""
    if sectors is None or not finding.located:
        return None
    place = np.isin(sectors, values_within(finding.sector))
    if not place.any():  # of an empty place there is no distance
        return place
    return np.asarray(distance_transform_edt(~place, sampling=spacing) <= TOLERANCE_MM)
