"""Lesion candidates of a probability map, and what is measured of each."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk

from nnunetv2_textguided.errors import DataError, TextGuidedError

ALL_NEIGHBOURS = np.ones((3, 3, 3), dtype=bool)
_REMEDY = "Choose with --candidates: dynamic, dynamic-fast, mask, none, or a probability between 0 and 1."


@dataclass(frozen=True)
class Candidate:
    """One lesion candidate.

    Attributes:
        candidate: its number, the most confident first.
        confidence: its value in the detection map.
        volume_ml: volume in mL.
        diameter_mm: largest distance between two points of its surface, in mm.
        centroid_lps_mm: centre of mass in patient coordinates (DICOM's: x to the left, y to the back, z to the head).
        centroid_voxel: the same as voxel index (x, y, z) of the image.
        key_slice: index, along the axis of the thickest slices, of the slice with most of it.
        mean_probability: mean probability in it.
        peak_probability: largest probability in it.
        mean_heatmap: mean text-image similarity in it; None without heatmaps.
        zone: where most of it lies, if a zone mask is given.
        outside_gland: whether all of it lies farther from the gland than masks of it err; None: no gland is known.
        from_text: whether it exists only because of what the network was told; None: it was told nothing.
    """

    candidate: int
    confidence: float
    volume_ml: float
    diameter_mm: float
    centroid_lps_mm: tuple[float, ...]
    centroid_voxel: tuple[float, ...]
    key_slice: int
    mean_probability: float
    peak_probability: float
    mean_heatmap: float | None = None
    zone: str | None = None
    outside_gland: bool | None = None
    from_text: bool | None = None

    def as_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def check_candidates(method: str) -> None:
    """Raise before anything is predicted if `method` is unknown, or needs a package that is not there."""
    if method in ("none", "mask"):
        return
    if method not in ("dynamic", "dynamic-fast"):
        _threshold(method)
    try:
        import report_guided_annotation  # noqa: F401
    except ImportError as error:
        raise TextGuidedError(
            f"Candidates as PI-CAI extracts them need report_guided_annotation, which cannot be imported: {error}.",
            where=f"--candidates {method}",
            remedy='pip install "nnunetv2-textguided[picai]", or use --candidates mask or none.',
        ) from error


def _threshold(method: str) -> float:
    try:
        value = float(method)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise DataError(f"{method!r} is no way to find candidates.", where="--candidates", remedy=_REMEDY)
    return value


def detection_map(probability: np.ndarray, mask: np.ndarray, method: str) -> np.ndarray:
    """Candidates as a detection map: 0, and within each candidate its confidence.

    Args:
        probability: (z, y, x) probability of the lesion.
        mask: (z, y, x) bool, the predicted mask of the lesion.
        method: "mask" makes a candidate of each 26-connected component of the mask, with its peak probability as
            confidence; everything else is report_guided_annotation's extraction, which PI-CAI uses.

    Returns:
        (z, y, x) float32.
    """
    if method == "mask":
        from scipy import ndimage

        parts, count = ndimage.label(mask, ALL_NEIGHBOURS)
        peaks = ndimage.maximum(probability, parts, np.arange(1, count + 1)) if count else []
        return np.concatenate([[0.0], peaks]).astype(np.float32)[parts]
    from nnunetv2_textguided.evaluation.detection import extract_candidates

    threshold: str | float = method if method.startswith("dynamic") else _threshold(method)
    return np.asarray(extract_candidates(probability, threshold), dtype=np.float32)


def without_outside(detection: np.ndarray, near_gland: np.ndarray) -> tuple[np.ndarray, int]:
    """A detection map without the candidates that lie outside the gland, and how many those were."""
    from scipy import ndimage

    parts, count = ndimage.label(detection > 0, ALL_NEIGHBOURS)
    inside = np.zeros(count + 1, dtype=bool)
    inside[np.unique(parts[near_gland])] = True
    return np.where(inside[parts], detection, 0).astype(detection.dtype), int(count - inside[1:].sum())


def measure_candidates(
    detection: np.ndarray,
    probability: np.ndarray,
    heatmap: np.ndarray | None,
    zones: np.ndarray | None,
    image: sitk.Image,
    zone_names: dict[int, str],
    near_gland: np.ndarray | None = None,
) -> tuple[list[Candidate], np.ndarray]:
    """Measure the candidates of a detection map.

    Args:
        detection: (z, y, x) detection map.
        probability: (z, y, x) probability of the lesion.
        heatmap, zones: (z, y, x) text-image similarity and zone mask, if there are any.
        image: any image with the geometry of these arrays.
        zone_names: name of each zone's value.
        near_gland: (z, y, x) bool, the gland with its margin, if it is known.

    Returns:
        The candidates, the most confident first, and (z, y, x) int32 with their numbers.
    """
    parts, places = _numbered(detection)
    found = []
    for number, (box, confidence) in enumerate(places, start=1):
        inside = parts[box] == number
        values = probability[box][inside]
        found.append(
            Candidate(
                candidate=number,
                confidence=confidence,
                **_shape(inside, [side.start for side in box], image),
                mean_probability=float(values.mean()),
                peak_probability=float(values.max()),
                mean_heatmap=None if heatmap is None else float(heatmap[box][inside].mean()),
                zone=None if zones is None else _zone(zones[box][inside], zone_names),
                outside_gland=None if near_gland is None else bool(not near_gland[box][inside].any()),
            )
        )
    return found, parts


def _numbered(detection: np.ndarray) -> tuple[np.ndarray, list[tuple[tuple[slice, ...], float]]]:
    """(z, y, x) int32 numbers of the candidates, the most confident first, and the box and confidence of each."""
    from scipy import ndimage

    parts, count = ndimage.label(detection > 0, ALL_NEIGHBOURS)
    confidence = [float(detection[parts == i].max()) for i in range(1, count + 1)]
    order = sorted(range(count), key=lambda i: -confidence[i])
    numbers = np.zeros(count + 1, dtype=np.int32)
    for number, index in enumerate(order, start=1):
        numbers[index + 1] = number
    parts = numbers[parts]
    return parts, list(zip(ndimage.find_objects(parts), (confidence[index] for index in order), strict=True))


def _shape(inside: np.ndarray, corner: list[int], image: sitk.Image) -> dict[str, Any]:
    """Volume, diameter and place of a (z, y, x) bool block whose first voxel is voxel `corner` of the image."""
    spacing = np.array(image.GetSpacing())[::-1]
    voxels = np.argwhere(inside) + corner
    centre = voxels.mean(axis=0)[::-1]
    return {
        "volume_ml": len(voxels) * float(spacing.prod()) / 1000,
        "diameter_mm": max_diameter(inside, spacing),
        "centroid_lps_mm": tuple(image.TransformContinuousIndexToPhysicalPoint(centre.tolist())),
        "centroid_voxel": tuple(centre.tolist()),
        "key_slice": int(np.bincount(voxels[:, slice_axis(spacing)]).argmax()),
    }


def slice_axis(spacing: Any) -> int:
    """The axis along which slices are thickest, the first of several."""
    return int(np.argmax(np.asarray(spacing) > 0.99 * np.max(spacing)))


def max_diameter(inside: np.ndarray, spacing: np.ndarray) -> float:
    """Largest distance in mm between two points of the surface of a (z, y, x) bool block, voxel size `spacing`.

    The surface goes through the centres of the voxels' faces, where marching cubes would put it (pyradiomics'
    Maximum3DDiameter): one voxel is as long as its longest side.
    """
    from scipy.spatial import ConvexHull
    from scipy.spatial.distance import pdist

    # Two points that are farthest apart are corners of the convex hull, so the two ends of each row are enough.
    rows = np.argwhere(inside.any(axis=2))
    ends = [inside.argmax(axis=2), inside.shape[2] - 1 - inside[..., ::-1].argmax(axis=2)]
    voxels = np.concatenate([np.column_stack([rows, end[tuple(rows.T)]]) for end in ends])
    half = np.diag(spacing) / 2
    faces = np.concatenate([voxels * spacing + offset for offset in (*half, *-half)])
    return float(pdist(faces[ConvexHull(faces).vertices]).max())


def _zone(values: np.ndarray, names: dict[int, str]) -> str:
    """The zone of most of the voxels; "outside" only if none is in any."""
    inside = values[values != 0]
    if not inside.size:
        return "outside"
    value = int(np.bincount(inside.astype(np.int64)).argmax())
    return names.get(value, str(value))
