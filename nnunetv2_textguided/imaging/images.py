"""Reading volumes so that a damaged file is an error, never a plausible image."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from nnunetv2_textguided.errors import DataError

_AGAIN = "Download or unpack the file again."


def read_volume(path: str | Path) -> sitk.Image:
    """Read a scalar 3D volume.

    Raises:
        DataError: missing, truncated, not 3D, not scalar, NaN or infinite voxels, or one constant value.
    """
    image = read_image(Path(path))
    values = sitk.GetArrayViewFromImage(image)
    bad = _not_finite(Path(path), values)
    if bad:
        raise DataError(f"{bad} voxels are NaN or infinite.", where=path, remedy=_AGAIN)
    if values.size == 0 or values.min() == values.max():
        raise DataError(
            f"All voxels have the same value ({values.flat[0] if values.size else 'none'}): the image is empty.",
            where=path,
            remedy=_AGAIN,
        )
    return image


def read_mask(path: str | Path, allowed: frozenset[int] | None = None) -> sitk.Image:
    """Read a 3D mask as unsigned 8-bit.

    Args:
        path: the file.
        allowed: the values it may have; None allows 0 to 255.

    Raises:
        DataError: missing, truncated, not 3D, or a value that is not an allowed whole number.
    """
    image = read_image(Path(path))
    values = np.unique(sitk.GetArrayViewFromImage(image))
    strange = [v for v in values.tolist() if v != v or v != int(v) or not (v in allowed if allowed else 0 <= v <= 255)]
    if strange:
        raise DataError(
            f"The mask has the values {strange[:8]}; allowed are {sorted(allowed) if allowed else '0 to 255'}.",
            where=path,
            remedy="Check that this is the right file; update the checkout of picai_labels.",
        )
    return sitk.Cast(image, sitk.sitkUInt8)


def mask_values(mask: sitk.Image) -> frozenset[int]:
    """The values other than 0 that occur in `mask`."""
    return frozenset(int(v) for v in np.unique(sitk.GetArrayViewFromImage(mask)) if v)


def read_image(path: Path) -> sitk.Image:
    """Read a scalar 3D image without looking at its values.

    Raises:
        DataError: missing, truncated, not 3D, or not scalar.
    """
    if not path.is_file():
        raise DataError("The file does not exist.", where=path, remedy=_AGAIN)
    if path.name.endswith(".gz"):
        _verify_gzip(path)
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise DataError(f"The file is truncated or damaged: {_reason(error)}", where=path, remedy=_AGAIN) from error
    components = image.GetNumberOfComponentsPerPixel()
    if image.GetDimension() != 3 or components != 1:
        kind = f"{image.GetDimension()}D" if components == 1 else f"{components} values per voxel"
        raise DataError(
            f"The file is not one 3D volume but {kind}, size {tuple(image.GetSize())}.",
            where=path,
            remedy="Extract the volume that belongs to this modality (a b-value, a time point) and save it alone.",
        )
    return image


def _not_finite(path: Path, values: np.ndarray) -> int:
    """How many voxels of the file are NaN or infinite."""
    if not np.issubdtype(values.dtype, np.floating):
        return 0
    if path.name.endswith((".nii", ".nii.gz")):
        # ITK's NIfTI reader turns them into zeros and says nothing.
        import nibabel

        stored: Any = nibabel.load(path)
        values = np.asanyarray(stored.dataobj)
    return int(values.size - np.count_nonzero(np.isfinite(values)))


def _verify_gzip(path: Path) -> None:
    # ITK's NIfTI reader fills what a truncated gzip stream lacks with zeros and says nothing: half of a lesion mask
    # would vanish. Reading the stream to its end checks its length and its CRC.
    try:
        with gzip.open(path) as stream:
            while stream.read(1 << 22):
                pass
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"The file is truncated or damaged: {error}.", where=path, remedy=_AGAIN) from error


def _reason(error: RuntimeError) -> str:
    """The last line of an ITK exception, which is the one with the reason."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else "unknown"
