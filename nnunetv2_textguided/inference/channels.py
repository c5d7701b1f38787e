"""One patient's channels, whatever they come from: image files, DICOM series, images or arrays in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.imaging.geometry import check_same_anatomy
from nnunetv2_textguided.imaging.grids import compare_grids
from nnunetv2_textguided.imaging.images import read_volume

if TYPE_CHECKING:
    from pydicom import Dataset

ADC = "ADC"
Source = str | Path | sitk.Image | tuple[np.ndarray, Sequence[float]]
"""A file, a folder of one DICOM series, an image, or (z, y, x) values with their (z, y, x) spacing in mm."""


@dataclass(frozen=True)
class Patient:
    """The channels of one patient on the first one's grid.

    Attributes:
        images: in the model's order, float32.
        decisions: what was decided on the way, in words.
        datasets: the DICOM data sets of the first channel; empty where it came from elsewhere.
    """

    images: tuple[sitk.Image, ...]
    decisions: tuple[str, ...]
    datasets: tuple[Dataset, ...] = field(default=(), repr=False)


def option_name(channel: str) -> str:
    """What a channel is called on the command line and in Python: `t2w` for T2W, `high_b` for High-b."""
    return "".join(letter if letter.isalnum() else "_" for letter in channel.lower()).strip("_")


def gather(sources: Mapping[str, Source], channels: Sequence[str]) -> Patient:
    """Read one patient's channels and bring them onto the first one's grid.

    Args:
        sources: channel (by its own name or its option's) -> where it is.
        channels: the model's channels, in order.

    Raises:
        DataError: a channel is missing, unknown, damaged, or shows other anatomy than the first.
    """
    given = {option_name(name): source for name, source in sources.items() if source is not None}
    missing = [channel for channel in channels if option_name(channel) not in given]
    unknown = sorted(set(given) - {option_name(channel) for channel in channels})
    if missing or unknown:
        problems = [
            f"{', '.join(names)} {word}" for names, word in ((missing, "missing"), (unknown, "unknown")) if names
        ]
        raise DataError(
            f"The model needs the channels {', '.join(channels)}: {'; '.join(problems)}.",
            where="channels",
            remedy="Give every channel that the model was trained with: "
            + " ".join(f"--{option_name(channel).replace('_', '-')} FILE" for channel in channels),
        )
    images: list[sitk.Image] = []
    decisions: list[str] = []
    first_datasets: tuple[Dataset, ...] = ()
    for channel in channels:
        image, said, datasets = _read(given[option_name(channel)], channel)
        decisions += said
        if not images:
            first_datasets = tuple(datasets)
        else:
            image, moved = _onto(image, images[0], channel, channels[0])
            decisions += moved
        images.append(image)
    return Patient(tuple(images), tuple(decisions), first_datasets)


def from_study(folder: Path, channels: Sequence[str], overrule: Mapping[str, str] | None = None) -> Patient:
    """One patient's channels from a folder of mixed DICOM series.

    Args:
        folder: of one study.
        channels: the model's channels, in order.
        overrule: channel -> number or UID of its series.

    Raises:
        DataError: a channel fits no series, or several, or a series is no volume.
    """
    from nnunetv2_textguided.inference.dicom.choose import choose_series
    from nnunetv2_textguided.inference.dicom.series import find_series
    from nnunetv2_textguided.inference.dicom.volume import read_series

    series, foreign = find_series(folder)
    chosen = choose_series(series, channels, folder, overrule)
    decisions = [f"{channel}: series {one.series}: {one.reason}" for channel, one in chosen.items()]
    if foreign:
        decisions.append(f"{len(foreign)} files are no DICOM and were left aside, such as {foreign[0].name}")
    images, datasets = {}, {}
    for channel, one in chosen.items():
        images[channel], datasets[channel] = read_series(one.series, one.b_value)
    patient = gather(images, channels)
    return Patient(patient.images, (*decisions, *patient.decisions), tuple(datasets[channels[0]]))


def _read(source: Source, channel: str) -> tuple[sitk.Image, list[str], Sequence[Dataset]]:
    datasets: Sequence[Dataset] = ()
    if isinstance(source, sitk.Image):
        image = source
    elif isinstance(source, tuple):
        image = _from_array(*source, channel)
    elif Path(source).is_dir():
        image, datasets = _one_series(Path(source), channel)
    else:
        image = read_volume(Path(source))
    if image.GetDimension() != 3:
        raise DataError(f"{channel} has {image.GetDimension()} axes, not 3.", where=str(source))
    image = sitk.Cast(image, sitk.sitkFloat32)
    values = sitk.GetArrayViewFromImage(image)
    if values.min() == values.max():
        raise DataError(
            f"All voxels of {channel} have the same value ({float(values.flat[0]):g}): the channel is empty.",
            where=channel,
            remedy="The model needs every channel that it was trained with.",
        )
    if channel.upper() != ADC:
        return image, [], datasets
    from nnunetv2_textguided.inference.dicom.volume import scaled_adc

    image, said = scaled_adc(image)
    return image, [said], datasets


def _from_array(values: np.ndarray, spacing: Sequence[float], channel: str) -> sitk.Image:
    values = np.asarray(values)
    if values.ndim != 3 or len(spacing) != 3 or not all(step > 0 for step in spacing):
        raise DataError(
            f"{channel}: values of shape {values.shape} with spacing {tuple(spacing)}.",
            where=channel,
            remedy="Give (z, y, x) values and three positive distances in mm, in the same order.",
        )
    image = sitk.GetImageFromArray(values.astype(np.float32))
    image.SetSpacing([float(step) for step in reversed(list(spacing))])
    return image


def _one_series(folder: Path, channel: str) -> tuple[sitk.Image, Sequence[Dataset]]:
    from nnunetv2_textguided.inference.dicom.choose import choose_series
    from nnunetv2_textguided.inference.dicom.series import find_series
    from nnunetv2_textguided.inference.dicom.volume import read_series

    series, _ = find_series(folder)
    if len(series) == 1:
        # A series of several b-values is the channel by its highest, which is the only one that can be meant.
        b_value = max(series[0].b_values, default=None) if len(series[0].b_values) > 1 else None
        return read_series(series[0], b_value)
    choice = choose_series(series, [channel], folder)[channel]
    return read_series(choice.series, choice.b_value)


def _onto(image: sitk.Image, reference: sitk.Image, channel: str, first: str) -> tuple[sitk.Image, list[str]]:
    """The image on the reference's grid, resampled as `picai prepare` does (B-spline), where it is not there."""
    check_same_anatomy(image, reference, channel)
    difference = compare_grids(image, reference)
    if difference.same_grid:
        image = sitk.Image(image)
        image.CopyInformation(reference)
        return image, []
    moved = sitk.Resample(image, reference, sitk.Transform(), sitk.sitkBSpline, 0.0, sitk.sitkFloat32)
    return moved, [f"{channel} resampled onto the grid of {first} ({difference})"]
