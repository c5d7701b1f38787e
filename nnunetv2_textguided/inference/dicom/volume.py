"""A DICOM series as a SimpleITK image: geometry checked, stored values scaled, frames of one b-value taken."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.extras import require
from nnunetv2_textguided.inference.dicom.series import Series, b_values_of

if TYPE_CHECKING:
    from pydicom import Dataset

UNIFORM = 0.02
"""Spacings between slices may differ by this share: headers round."""
SHEAR_DEGREES = 0.5
"""Slices may be displaced within their plane by no more than this angle: a tilted gantry is not a box of voxels."""
# Median of an ADC map in 1e-6 mm2/s. Maps in 1e-3 mm2/s have medians about 1, in mm2/s about 0.001.
_ADC_UNITS = ((1e-5, 0.05, 1e6, "mm2/s"), (0.05, 30.0, 1e3, "1e-3 mm2/s"), (30.0, 10_000.0, 1.0, "1e-6 mm2/s"))


def read_series(series: Series, b_value: float | None = None) -> tuple[sitk.Image, list[Dataset]]:
    """The volume of a series.

    Args:
        series: the series.
        b_value: take the images of this b-value alone, s/mm2; None: all.

    Returns:
        A float32 image in the patient's coordinates, slices from the first along the normal to the last, and the
        data sets (with pixels) that it is made of.

    Raises:
        DataError: a slice is missing or repeated, slices are not uniform, the gantry was tilted, the spacing is 0, or
            pixels cannot be decoded.
    """
    pydicom = require("pydicom")
    chosen = [
        path
        for path, header in zip(series.files, series.headers, strict=True)
        if b_value is None or "PerFrameFunctionalGroupsSequence" in header or b_value in b_values_of(header)
    ]
    try:
        datasets = [pydicom.dcmread(path) for path in chosen]
        slices = [part for one, path in zip(datasets, chosen, strict=True) for part in _slices(one, path, b_value)]
    except (OSError, EOFError, ValueError, AttributeError, KeyError, RuntimeError, NotImplementedError) as error:
        raise DataError(
            f"The pixels of series {series.number} cannot be decoded: {' '.join(str(error).split())}",
            where=series.files[0].parent,
            remedy="Export it uncompressed, or pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg.",
        ) from error
    return _assemble(slices, series), datasets


Slice = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Position (3,), row and column direction (2, 3), spacing between columns and rows (2,), values (rows, columns)."""


def _slices(one: Dataset, path: Path, b_value: float | None) -> list[Slice]:
    pixels = np.asarray(one.pixel_array)
    if "PerFrameFunctionalGroupsSequence" not in one:
        return [_slice(one, one, one, pixels, path)]
    shared = one.SharedFunctionalGroupsSequence[0]
    found = []
    for frame, values in zip(one.PerFrameFunctionalGroupsSequence, pixels.reshape(-1, *pixels.shape[-2:]), strict=True):
        b = [item.get("DiffusionBValue") for item in frame.get("MRDiffusionSequence", ())]
        if b_value is None or b_value in b:
            parts = [_group(frame, shared, f"{name}Sequence") for name in
                     ("PlanePosition", "PlaneOrientation", "PixelMeasures")]  # fmt: skip
            scale = _group(frame, shared, "PixelValueTransformationSequence")
            found.append(_slice(_merged(*parts), scale or one, one, values, path))
    return found


def _group(frame: Dataset, shared: Dataset, name: str) -> Any:
    items = frame.get(name) or shared.get(name)
    return items[0] if items else None


def _merged(*parts: Any) -> Any:
    merged: dict[str, Any] = {}
    for part in filter(None, parts):
        merged |= {element.keyword: element.value for element in part}
    return merged


def _slice(geometry: Any, scale: Any, one: Dataset, values: np.ndarray, path: Path) -> Slice:
    if values.ndim != 2:
        raise DataError(f"An image has {values.ndim} axes, not 2.", where=path, remedy="Colour images are no channels.")
    needed = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
    missing = [key for key in needed if not geometry.get(key)]
    if missing:
        raise DataError(f"The image does not say its {', '.join(missing)}.", where=path,
                        remedy="Export the original series, not secondary captures.")  # fmt: skip
    position, plane, spacing = (np.asarray(geometry.get(key), dtype=float) for key in needed)
    if not (spacing > 0).all():
        raise DataError(f"The pixel spacing is {spacing.tolist()} mm.", where=path, remedy="Export the series again.")
    slope, intercept = float(scale.get("RescaleSlope", 1) or 1), float(scale.get("RescaleIntercept", 0) or 0)
    return position, plane.reshape(2, 3), spacing[::-1], values.astype(np.float32) * slope + intercept


def _assemble(slices: Sequence[Slice], series: Series) -> sitk.Image:
    where = f"series {series}"
    if len(slices) < 2:
        raise DataError(f"The series has {len(slices)} images: no volume.", where=where)
    _, plane, spacing, values = slices[0]
    for other in slices[1:]:
        if other[3].shape != values.shape or not np.allclose(other[2], spacing, rtol=1e-3):
            raise DataError("Images of the series differ in size or pixel spacing.", where=where,
                            remedy="The series holds several stacks: give one of them.")  # fmt: skip
        if not np.allclose(other[1], plane, atol=1e-3):
            raise DataError("Images of the series lie in different planes.", where=where,
                            remedy="It is a localiser or a radial stack: give a volume.")  # fmt: skip
    normal = np.cross(plane[0], plane[1])
    slices = sorted(slices, key=lambda one: float(one[0] @ normal))
    positions = np.array([one[0] for one in slices])
    step = _uniform_step(positions, normal, where)
    image = sitk.GetImageFromArray(np.stack([one[3] for one in slices]).astype(np.float32))
    image.SetSpacing([float(spacing[0]), float(spacing[1]), step])
    image.SetOrigin(positions[0].tolist())
    image.SetDirection(np.column_stack([plane[0], plane[1], normal]).ravel().tolist())
    return image


def _uniform_step(positions: np.ndarray, normal: np.ndarray, where: str) -> float:
    steps = np.diff(positions @ normal)
    step = float(np.median(steps))
    if (steps < 0.01).any():
        raise DataError(
            f"{int((steps < 0.01).sum())} slices lie where another one lies.",
            where=where,
            remedy="The series holds several acquisitions (b-values, echoes, time points): give one of them.",
        )
    gaps = np.flatnonzero(np.abs(steps - step) > UNIFORM * step)
    if len(gaps):
        missing = round(float(steps[gaps[0]] / step)) - 1
        what = f"{missing} slices are missing after slice {gaps[0] + 1}" if missing > 0 else "slices are not uniform"
        raise DataError(
            f"{what}: distances of {steps.min():.2f} to {steps.max():.2f} mm.",
            where=where,
            remedy="Export the series again, complete.",
        )
    drift = positions[-1] - positions[0]
    angle = float(np.degrees(np.arccos(np.clip(drift @ normal / np.linalg.norm(drift), -1, 1))))
    if angle > SHEAR_DEGREES:
        raise DataError(
            f"Slices are displaced against each other: the gantry was tilted by {angle:.1f} degrees.",
            where=where,
            remedy="Resample the series to a box of voxels first.",
        )
    return step


def scaled_adc(image: sitk.Image) -> tuple[sitk.Image, str]:
    """An ADC map in 1e-6 mm2/s, whatever unit it came in, and what was decided.

    Units are told apart by the median of what is not 0: tissue has 300 to 3500 times 1e-6 mm2/s.

    Raises:
        DataError: the values fit no unit.
    """
    values = sitk.GetArrayViewFromImage(image)
    positive = values[values > 0]
    median = float(np.median(positive)) if positive.size else 0.0
    for low, high, factor, unit in _ADC_UNITS:
        if low <= median < high:
            said = f"ADC in {unit} (median {median:.4g})" + ("" if factor == 1 else f", multiplied by {factor:g}")
            return (image if factor == 1 else image * factor), said
    raise DataError(
        f"The ADC map's median is {median:.4g}, which fits no unit of ADC.",
        where="ADC",
        remedy="Check that the series is the ADC map and that its scaling is exported.",
    )
