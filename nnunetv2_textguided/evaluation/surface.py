"""Surface distances of two masks, weighted by area: HD95 and the normalised surface Dice (Nikolov, arXiv 1809.04430).

A surface lies between the centres of eight neighbouring voxels that are not all inside or all outside; its area is that
of the triangles of marching cubes there. Same definition as DeepMind's surface-distance and MONAI's; tests compare.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np

NSD_TOLERANCES_MM = (1.0, 2.0)

# Normals of the triangles of marching cubes, in eighths of a voxel's faces (parallel ones added up), for one of each
# kind of neighbourhood; all others are these turned, mirrored or with inside and outside exchanged. The bits of a
# neighbourhood are its corners, the corner (z, y, x) = (0, 0, 0) the highest and (1, 1, 1) the lowest.
_NORMALS = {
    0b00000001: ((1, 1, 1),),
    0b00000011: ((4, 4, 0),),
    0b00000110: ((2, 2, 2),),
    0b00000111: ((4, 0, 0), (3, 3, 3)),
    0b00001111: ((8, 0, 0),),
    0b00010110: ((3, 3, 3),),
    0b00010111: ((6, 6, 6),),
    0b00011000: ((2, 2, 2),),
    0b00011001: ((0, 4, 4), (1, 1, 1)),
    0b00011011: ((4, 4, 4), (0, 2, 2), (2, 0, 2)),
    0b00011110: ((4, 0, 0), (4, 4, 4)),
    0b00111100: ((8, 8, 0),),
    0b01101001: ((4, 4, 4),),
}
_CORNERS = tuple(itertools.product((0, 1), repeat=3))
_ALL_INSIDE = 255


def surface_metrics(reference: np.ndarray, prediction: np.ndarray, spacing: Sequence[float]) -> dict[str, float]:
    """HD95 in mm and NSD at 1 and 2 mm.

    Args:
        reference: Boolean (z, y, x), not empty.
        prediction: Boolean (z, y, x), not empty, same shape.
        spacing: voxel spacing in mm (z, y, x).

    Raises:
        ValueError: a mask is empty.
    """
    if not reference.any() or not prediction.any():
        raise ValueError("surface metrics need two masks with voxels; EmptyMask decides about the others")
    pair = list(_surface_distances(reference, prediction, spacing))
    total = sum(areas.sum() for _, areas in pair)
    values = {
        f"nsd_{tolerance:g}mm": float(sum(areas[distances <= tolerance].sum() for distances, areas in pair) / total)
        for tolerance in NSD_TOLERANCES_MM
    }
    return {**values, "hd95": max(_percentile(distances, areas, 0.95) for distances, areas in pair)}


def surface_areas(spacing: Sequence[float]) -> np.ndarray:
    """(256,) area in mm^2 of the surface in each neighbourhood of 2 x 2 x 2 voxels of `spacing` in mm (z, y, x)."""
    faces = np.prod(spacing) / np.asarray(spacing, float)
    return np.array([sum(np.linalg.norm(np.multiply(n, faces)) for n in normals) / 8 for normals in _all_normals()])


def _surface_distances(a: np.ndarray, b: np.ndarray, spacing: Sequence[float]) -> Iterator[tuple[np.ndarray, ...]]:
    """For both masks (distances of its surface elements from the other's surface in mm, their areas in mm^2)."""
    from scipy.ndimage import distance_transform_edt, find_objects

    box = find_objects((a | b).astype(np.uint8))[0]
    codes = [_neighbourhoods(mask[box]) for mask in (a, b)]
    borders = [(code != 0) & (code != _ALL_INSIDE) for code in codes]
    areas = surface_areas(spacing)
    for code, border, other in zip(codes, borders, borders[::-1], strict=True):
        yield distance_transform_edt(~other, sampling=spacing)[border], areas[code[border]]


def _neighbourhoods(mask: np.ndarray) -> np.ndarray:
    """The code of the eight voxels around each corner of a voxel, (Z + 1, Y + 1, X + 1) uint8."""
    padded = np.pad(mask, 1)
    codes = np.zeros([n + 1 for n in mask.shape], np.uint8)
    for bit, corner in zip(range(7, -1, -1), _CORNERS, strict=True):
        part = tuple(slice(side, side + n) for side, n in zip(corner, codes.shape, strict=True))
        codes |= padded[part].astype(np.uint8) << bit
    return codes


def _percentile(distances: np.ndarray, areas: np.ndarray, share: float) -> float:
    """The distance within which `share` of the area lies."""
    order = np.lexsort((areas, distances))
    within = np.cumsum(areas[order]) / areas.sum()
    return float(distances[order][min(int(np.searchsorted(within, share)), len(order) - 1)])


@cache
def _all_normals() -> tuple[tuple[tuple[int, ...], ...], ...]:
    """`_NORMALS` of all 256 neighbourhoods; only their sizes, as the area needs no direction."""
    bits = 1 << np.arange(7, -1, -1).reshape(2, 2, 2)
    found: list[tuple[tuple[int, ...], ...]] = [()] * 256
    for code, normals in _NORMALS.items():
        for axes in itertools.permutations(range(3)):
            turned = np.transpose((code & bits) > 0, axes)
            sizes = tuple(tuple(normal[axis] for axis in axes) for normal in normals)
            for mirrored in itertools.product((slice(None), slice(None, None, -1)), repeat=3):
                same = int(bits[turned[mirrored]].sum())
                found[same] = found[_ALL_INSIDE - same] = sizes
    return tuple(found)
