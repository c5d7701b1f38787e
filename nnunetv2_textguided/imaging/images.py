"""Reading volumes so that a damaged file is an error, never a plausible image."""

from __future__ import annotations

import gzip
import itertools
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from nnunetv2_textguided.errors import DataError

_AGAIN = "Copy, download or unpack the file again."
_VALUES = "Check that this is the right file; correct its values, or name them where the allowed ones come from."

ENDINGS = (".nii.gz", ".nii", ".mha", ".nrrd")
"""Of images that stand alone in a folder, the likeliest first."""


def read_volume(path: str | Path) -> sitk.Image:
    """Read a scalar 3D volume.

    Raises:
        DataError: missing, truncated, not 3D, not scalar, NaN or infinite voxels, or one constant value.
    """
    image = read_image(Path(path))
    check_voxels(sitk.GetArrayViewFromImage(image), path)
    return image


def check_voxels(values: np.ndarray, path: str | Path) -> None:
    """Raise DataError if the voxels of an image file are NaN or infinite, or all the same."""
    if np.issubdtype(values.dtype, np.floating):
        _refuse_not_finite(values, path)
    if values.size == 0 or values.min() == values.max():
        raise DataError(
            f"All voxels have the same value ({values.flat[0] if values.size else 'none'}): the image is empty.",
            where=path,
            remedy=_AGAIN,
        )


def find_image(folder: Path, name: str) -> Path | None:
    """The image file of that name in a folder, whatever its format; None where there is none."""
    paths = (folder / (name + ending) for ending in ENDINGS)
    return next(filter(Path.is_file, paths), None)


def check_finite(path: Path) -> None:
    """Raise DataError if a NIfTI file has voxels that are NaN or infinite: ITK reads them as zeros and says nothing."""
    if not path.name.endswith((".nii", ".nii.gz")):
        return
    import nibabel

    stored: Any = nibabel.load(path)
    if np.issubdtype(stored.get_data_dtype(), np.floating):
        _refuse_not_finite(np.asanyarray(stored.dataobj), path)


def _refuse_not_finite(values: np.ndarray, path: str | Path) -> None:
    count = int(values.size - np.count_nonzero(np.isfinite(values)))
    if count:
        raise DataError(f"{count} voxels are NaN or infinite.", where=path, remedy=_AGAIN)


def read_mask(path: str | Path, allowed: frozenset[int] | None = None, remedy: str = _VALUES) -> sitk.Image:
    """Read a 3D mask as unsigned 8-bit.

    Args:
        path: the file.
        allowed: the values it may have; None allows 0 to 255.
        remedy: what to do about another value.

    Raises:
        DataError: missing, truncated, not 3D, or a value that is not an allowed whole number.
    """
    image = read_image(Path(path))
    check_mask_values(sitk.GetArrayViewFromImage(image), path, allowed, remedy)
    return sitk.Cast(image, sitk.sitkUInt8)


def check_mask_values(
    values: np.ndarray, path: str | Path, allowed: frozenset[int] | None = None, remedy: str = _VALUES
) -> frozenset[int]:
    """The values of a mask; DataError if one is not an allowed whole number."""
    found = [int(v) if float(v).is_integer() else v for v in np.unique(values).tolist()]
    strange = [v for v in found if not isinstance(v, int) or not (v in allowed if allowed else 0 <= v <= 255)]
    if strange:
        raise DataError(
            f"The mask has the values {strange[:8]}; allowed are {sorted(allowed) if allowed else '0 to 255'}.",
            where=path,
            remedy=remedy,
        )
    return frozenset(found)


def mask_values(mask: sitk.Image) -> frozenset[int]:
    """The values other than 0 that occur in `mask`."""
    return frozenset(int(v) for v in np.unique(sitk.GetArrayViewFromImage(mask)) if v)


def read_image(path: Path, dimensions: tuple[int, ...] = (3,), finite: bool = True) -> sitk.Image:
    """Read a scalar image.

    Args:
        path: the file.
        dimensions: how many axes it may have.
        finite: refuse NaN and infinity in NIfTI; False: zeros, as ITK reads them, for pictures.

    Raises:
        DataError: missing, truncated, of another dimension, not scalar, without a voxel size, its axes are not
            perpendicular, or voxels of a NIfTI file are NaN or infinite.
    """
    verify_whole(path)
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise unreadable(error, path) from error
    _check_voxel_size(path, image)
    components = image.GetNumberOfComponentsPerPixel()
    if image.GetDimension() not in dimensions or components != 1:
        raise not_one_volume(image, path)
    if finite:
        check_finite(path)
    return image


def not_one_volume(image: sitk.Image | sitk.ImageFileReader, path: Path) -> DataError:
    """What is wrong with an image of another dimension, or with several values per voxel."""
    values = image.GetNumberOfComponentsPerPixel() if isinstance(image, sitk.Image) else 1
    kind = f"{values} values per voxel" if values > 1 else f"{image.GetDimension()}D"
    return DataError(
        f"The file is not one 3D volume but {kind}, size {tuple(image.GetSize())}.",
        where=path,
        remedy="Extract the volume that belongs to this modality (a b-value, a time point) and save it alone.",
    )


def read_header(path: Path) -> sitk.ImageFileReader:
    """Read where an image's voxels lie, and not the voxels.

    Raises:
        DataError: missing or unreadable, without a voxel size, or its axes are not perpendicular.
    """
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise unreadable(error, path) from error
    _check_voxel_size(path, reader)
    return reader


def _check_voxel_size(path: Path, image: sitk.Image | sitk.ImageFileReader) -> None:
    """Raise DataError if a header states no voxel size, or no place: ITK reads a NIfTI's 0, -1 or NaN mm as 1 mm."""
    size, place = image.GetSpacing(), (*image.GetOrigin(), *image.GetDirection())
    if path.name.endswith((".nii", ".nii.gz")):
        size = _nifti_voxel_size(path)[: len(size)] or size
    if not all(np.isfinite(side) and side > 0 for side in size) or not np.isfinite(place).all():
        sides = " x ".join(f"{side:g}" for side in size)
        raise DataError(
            f"The header does not say how large the voxels are and where they lie: {sides} mm.",
            where=path,
            remedy="Convert the images again, or write the right voxel size and affine into the header.",
        )


def _nifti_voxel_size(path: Path) -> tuple[float, ...]:
    """The voxel size that stands in a NIfTI file (pixdim): nibabel corrects it, as ITK does. Empty: it is no NIfTI."""
    with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as stream:
        head = stream.read(168)
    for order, (length, kind, offset) in itertools.product("<>", ((348, "3f", 80), (540, "3d", 112))):
        if len(head) == 168 and struct.unpack_from(f"{order}i", head)[0] == length:
            return struct.unpack_from(order + kind, head, offset)
    return ()


def verify_whole(path: Path) -> None:
    """Raise DataError if the file is missing, or is a truncated gzip stream, which ITK fills with zeros silently."""
    if not path.is_file():
        raise DataError("The file does not exist.", where=path, remedy=_AGAIN)
    if path.name.endswith(".gz"):
        _verify_gzip(path)


def unreadable(error: RuntimeError, path: Path) -> DataError:
    """ITK's exception about a file, in words for users."""
    reason = _reason(error)
    if "orthonormal" in str(error):
        return DataError(
            "The affine is sheared: the image's axes are not perpendicular, which ITK cannot represent.",
            where=path,
            remedy="Resample it onto perpendicular axes (nibabel.processing.resample_to_output), "
            "or correct the header if the shear is an error of its writer.",
        )
    if any(word in str(error).lower() for word in ("unsupported", "not supported", "can not handle")):
        return DataError(
            f"ITK cannot read this kind of file: {reason}", where=path, remedy="Convert it to NIfTI, NRRD or MetaImage."
        )
    return DataError(f"The file is truncated or damaged: {reason}", where=path, remedy=_AGAIN)


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
