"""One patient's channels, whatever they come from: image files, DICOM series, images or arrays in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.imaging.geometry import check_same_anatomy
from nnunetv2_textguided.imaging.grids import compare_grids
from nnunetv2_textguided.imaging.images import read_volume
from nnunetv2_textguided.inference.missing import MissingRule

if TYPE_CHECKING:
    from pydicom import Dataset

ADC = "ADC"
Source = str | Path | sitk.Image | tuple[np.ndarray, Sequence[float]]
"""A file, a folder of one DICOM series, an image, or (z, y, x) values with their (z, y, x) spacing in mm."""


@dataclass(frozen=True)
class Patient:
    """The channels of one patient on the first one's grid.

    Attributes:
        images: in the model's order, float32; zeros for a missing channel.
        decisions: what was decided on the way, in words.
        datasets: the DICOM data sets of the first channel that is there; empty where it came from elsewhere.
        missing: indices of the channels that the patient lacks.
    """

    images: tuple[sitk.Image, ...]
    decisions: tuple[str, ...]
    datasets: tuple[Dataset, ...] = field(default=(), repr=False)
    missing: tuple[int, ...] = ()


def option_name(channel: str) -> str:
    """What a channel is called on the command line and in Python: `t2w` for T2W, `high_b` for High-b."""
    return "".join(letter if letter.isalnum() else "_" for letter in channel.lower()).strip("_")


def gather(sources: Mapping[str, Source], channels: Sequence[str], rule: MissingRule | None = None) -> Patient:
    """Read one patient's channels and bring them onto the first one's grid.

    Args:
        sources: channel (by its own name or its option's) -> where it is.
        channels: the model's channels, in order.
        rule: whether the patient may lack some of them; None: no.

    Raises:
        DataError: a channel is missing or constant and must not be, unknown, damaged, or shows other anatomy than the
            first; or all are missing.
    """
    rule = rule or MissingRule()
    given = _by_option(sources, channels, rule)
    images: dict[int, sitk.Image] = {}
    decisions: list[str] = []
    first_datasets: tuple[Dataset, ...] = ()
    for index, channel in enumerate(channels):
        source = given.get(option_name(channel))
        if source is None:
            decisions.append(f"{channel} is missing: predicted without it")
            continue
        image, said, datasets = _read(source, channel, rule)
        decisions += said
        if image is None:
            continue
        if not images:
            first_datasets = tuple(datasets)
        else:
            first = min(images)
            image, moved = _onto(image, images[first], channel, channels[first])
            decisions += moved
        images[index] = image
    if not images:
        raise DataError("Every channel is missing or constant: there is nothing to predict.", where="channels")
    blank = sitk.Image(images[min(images)].GetSize(), sitk.sitkFloat32)
    blank.CopyInformation(images[min(images)])
    missing = tuple(index for index in range(len(channels)) if index not in images)
    found = tuple(images.get(index, blank) for index in range(len(channels)))
    return Patient(found, tuple(decisions), first_datasets, missing)


def _by_option(sources: Mapping[str, Source], channels: Sequence[str], rule: MissingRule) -> dict[str, Source]:
    """Each source by its channel's option, with none missing that must not be."""
    given = {option_name(name): source for name, source in sources.items() if source is not None}
    missing = [channel for channel in channels if option_name(channel) not in given]
    unknown = sorted(set(given) - {option_name(channel) for channel in channels})
    if (missing and not rule.allowed) or unknown or not given:
        problems = [
            f"{', '.join(names)} {word}" for names, word in ((missing, "missing"), (unknown, "unknown")) if names
        ]
        raise DataError(
            f"The model needs the channels {', '.join(channels)}: {'; '.join(problems)}.",
            where="channels",
            remedy="Give them: "
            + " ".join(f"--{option_name(channel).replace('_', '-')} FILE" for channel in channels)
            + f". {rule.reason}",
        )
    return given


def from_study(
    folder: Path, channels: Sequence[str], overrule: Mapping[str, str] | None = None, rule: MissingRule | None = None
) -> Patient:
    """One patient's channels from a folder of mixed DICOM series.

    Args:
        folder: of one study.
        channels: the model's channels, in order.
        overrule: channel -> number or UID of its series.
        rule: whether the patient may lack some channels; None: no.

    Raises:
        DataError: a channel fits no series and must not be missing, or several, or a series is no volume.
    """
    from nnunetv2_textguided.inference.dicom.choose import choose_series
    from nnunetv2_textguided.inference.dicom.series import find_series
    from nnunetv2_textguided.inference.dicom.volume import read_series

    series, foreign = find_series(folder)
    rule = rule or MissingRule()
    chosen = choose_series(series, channels, folder, overrule, rule)
    decisions = [f"{channel}: series {one.series}: {one.reason}" for channel, one in chosen.items()]
    if foreign:
        decisions.append(f"{len(foreign)} files are no DICOM and were left aside, such as {foreign[0].name}")
    images: dict[str, Source] = {}
    datasets: dict[str, Sequence[Dataset]] = {}
    for channel, one in chosen.items():
        images[channel], datasets[channel] = read_series(one.series, one.b_value)
    patient = gather(images, channels, rule)
    first = next(channel for index, channel in enumerate(channels) if index not in patient.missing)
    return replace(patient, decisions=(*decisions, *patient.decisions), datasets=tuple(datasets[first]))


def _read(source: Source, channel: str, rule: MissingRule) -> tuple[sitk.Image | None, list[str], Sequence[Dataset]]:
    """The image, what was decided, and its data sets; no image where the channel is constant and may be missing."""
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
        same = f"All voxels of {channel} have the same value ({float(values.flat[0]):g})"
        if rule.allowed:
            return None, [f"{same}: predicted without it"], ()
        raise DataError(f"{same}: the channel is empty.", where=channel, remedy=rule.reason)
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
