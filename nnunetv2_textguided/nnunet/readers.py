"""nnU-Net's image readers: which one a data set's files are read with, and files that only they can read."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nnunetv2_textguided.errors import DataError

ITK_ENDINGS = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd", ".gipl")
"""Medical formats, which SimpleITK reads whatever the reader that nnU-Net chose."""
WITHOUT_GEOMETRY = ("NaturalImage2DIO", "Tiff3DIO")
"""Readers of formats that keep neither origin nor direction."""
# What readers of damaged or unexpected files end in.
_UNREADABLE = (
    RuntimeError,
    ValueError,
    AssertionError,
    OSError,
    EOFError,
    KeyError,
    IndexError,
    TypeError,
    SyntaxError,
)


def reader_class(dataset: Mapping[str, Any], example: Path) -> type[Any]:
    """The reader that nnU-Net takes for a data set: the one that it names, else the first that can read a file of it.

    Args:
        dataset: the content of dataset.json.
        example: an image of the data set.

    Raises:
        DataError: there is none.
    """
    from nnunetv2.imageio.reader_writer_registry import LIST_OF_IO_CLASSES, recursive_find_reader_writer_by_name

    named = dataset.get("overwrite_image_reader_writer")
    if isinstance(named, str) and named != "None":
        with contextlib.suppress(RuntimeError), contextlib.redirect_stdout(io.StringIO()):
            found: type[Any] = recursive_find_reader_writer_by_name(named)
            return found
    ending = str(dataset["file_ending"]).lower()
    able = [one for one in LIST_OF_IO_CLASSES if ending in one.supported_file_endings]
    for one in able:
        try:
            read_with(one, [example])
        except DataError:
            continue
        return one
    if able:  # the example is damaged, which whoever reads it next says
        return able[0]
    raise DataError(
        f"nnU-Net has no reader for files that end in {ending!r}.",
        where="dataset.json: file_ending",
        remedy="Convert the images to .nii.gz, or to .png, .bmp or .tif if they are 2D.",
    )


def read_with(reader: type[Any], files: list[Path]) -> tuple[np.ndarray, tuple[float, ...]]:
    """Read files with one of nnU-Net's readers.

    Args:
        reader: the reader's class.
        files: the channels of one case, or one label map.

    Returns:
        (C, z, y, x) values, and the voxel size in the same order.

    Raises:
        DataError: a file cannot be read.
    """
    values, properties = read_case_files(reader, files)
    return values, tuple(float(side) for side in properties["spacing"])


def read_case_files(reader: type[Any], files: list[Path]) -> tuple[np.ndarray, dict[str, Any]]:
    """Read the channels of a case: (C, z, y, x) values and nnU-Net's properties, without the reader's prints.

    Raises:
        DataError: a file cannot be read, or the files differ in size or voxel size.
    """
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    missing = [path for path in files if not path.is_file()]
    if missing:
        raise DataError("The file does not exist.", where=missing[0], remedy="Copy or download the file again.")
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            values, properties = reader().read_images([str(path) for path in files])
    except (*_UNREADABLE, ImageFileError, HeaderDataError) as error:
        reason = (str(error).strip().splitlines() or ["its channels differ in size or spacing"])[-1]
        raise DataError(
            f"nnU-Net's {reader.__name__} cannot read the case: {reason}",
            where=", ".join(map(str, files)),
            remedy="If other programs cannot read it either, copy it again; else convert it.",
        ) from error
    if not all(0 < float(side) < math.inf for side in properties["spacing"]):
        raise DataError(f"The voxel size is {properties['spacing']}.", where=", ".join(map(str, files)),
                        remedy="Correct the header: every side has to be a number above 0.")  # fmt: skip
    return values, properties


def files_per_case(reader: type[Any], first: Path, channels: int) -> int:
    """How many files a case has: one per channel, or one for all where a colour image holds them.

    Args:
        reader: the reader's class.
        first: the first file of a case.
        channels: number of channels that dataset.json names.
    """
    if reader.__name__ not in WITHOUT_GEOMETRY or channels == 1:
        return channels
    try:
        held = len(read_with(reader, [first])[0])
    except DataError:
        return channels
    return channels // held if channels % held == 0 else channels
