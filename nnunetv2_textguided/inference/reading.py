"""Reading a case: checked first, then read by the model's own reader, whatever the case is made of."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.imaging.grids import HasGrid, check_on_grid
from nnunetv2_textguided.imaging.images import check_finite, not_one_volume, read_header, verify_whole
from nnunetv2_textguided.inference.cases import Case
from nnunetv2_textguided.nnunet.plans import PlansManager
from nnunetv2_textguided.nnunet.readers import ITK_ENDINGS, read_case_files


def check_grids(case: Case, names: Sequence[str]) -> list[str]:
    """Check that the files are whole and finite, and that all channels lie on the first one's grid.

    Args:
        case: the case.
        names: names of the channels.

    Returns:
        Remarks about grids that differ by less than half a voxel.

    Raises:
        DataError: a file is missing or truncated, sheared, holds several volumes or voxels that are not finite, or lies
            elsewhere than the first channel.
    """
    grids: list[HasGrid] = []
    for channel in case.channels:
        if isinstance(channel, Path):
            verify_whole(channel)
            if not channel.name.lower().endswith(ITK_ENDINGS):
                return []  # natural images and TIFF have no place in space; their readers compare sizes
            header = read_header(channel)
            if header.GetDimension() > 3 and len(case.channels) > 1:
                raise not_one_volume(header, channel)
            check_finite(channel)
            grids.append(header)
        else:
            grids.append(channel)
    remarks = []
    for name, grid, channel in zip(names[1:], grids[1:], case.channels[1:], strict=True):
        where = channel if isinstance(channel, Path) else name
        remark = check_on_grid(grid, grids[0], f"{name} is not on the grid of {names[0]}", where)
        remarks += [] if remark is None else [remark]
    return remarks


def read_case(case: Case, plans: PlansManager, ending: str, names: Sequence[str]) -> tuple[np.ndarray, dict[str, Any]]:
    """The case as the model's reader returns it: (C, z, y, x) values, and what the export needs to know.

    Args:
        case: the case.
        plans: the model's plans.
        ending: the model's file ending; images in memory take this way, too, so that they are read as in training.
        names: names of the channels.

    Raises:
        DataError: it cannot be read, or a channel that is not missing is constant.
    """
    reader = plans.image_reader_writer_class
    if all(isinstance(channel, Path) for channel in case.channels):
        values, properties = read_case_files(reader, [Path(str(channel)) for channel in case.channels])
    else:
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder, f"{case.name}_{number:04d}{ending}") for number in range(len(case.channels))]
            for path, image in zip(files, load_images(case), strict=True):
                sitk.WriteImage(image, str(path))
            values, properties = read_case_files(reader, files)
        first = case.channels[0]
        if isinstance(first, sitk.Image) and "original_orientation" not in properties.get(
            "sitk_stuff", ("original_orientation",)
        ):
            # A NIfTI header has single precision; results get the image's own geometry.
            exact = {"spacing": first.GetSpacing(), "origin": first.GetOrigin(), "direction": first.GetDirection()}
            properties["sitk_stuff"] = exact
    for index, (name, channel) in enumerate(zip(names, values, strict=False)):
        if index not in case.missing and channel.min() == channel.max():
            raise DataError(
                f"All voxels of {name} have the same value ({channel.flat[0]:g}): the channel is empty.",
                where=f"case {case.name}",
                remedy="The model needs every channel that it was trained with.",
            )
    return values, properties


def load_images(case: Case) -> list[sitk.Image]:
    """Each channel as an image with float voxels, for pictures."""
    return [
        sitk.ReadImage(str(one), sitk.sitkFloat32) if isinstance(one, Path) else sitk.Cast(one, sitk.sitkFloat32)
        for one in case.channels
    ]
