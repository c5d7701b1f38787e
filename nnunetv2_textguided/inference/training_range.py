"""How far a case lies from what the model was trained on: voxel size, field of view and intensities.

A segmentation network answers an image of another kind as confidently as one of its own. What can be compared is what
nnU-Net and this package left in the model folder: `dataset_fingerprint.json` (voxel sizes and sizes of the training
images), and `training_intensities.json` of each fold (percentiles of the normalised training images), which the fold's
last checkpoint holds, too: nnU-Net's export of a model leaves the file out.

For a channel that is normalised by itself (MRI, z-score), the raw scale says nothing: the network never sees it. The
percentiles after the normalisation, in standard deviations of the image, are compared instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.files import read_json
from nnunetv2_textguided.imaging.intensities import FILE, LEVELS, RANGE, percentiles

UNLIKE = 1.0
"""Distance from which a case is called unlike the training data: as far outside the range as the range is wide."""
FLOORS = {"voxel size": 0.2, "field of view": 0.3}
"""Least width of a range, relative to its middle: a training set of one protocol has next to none."""
INTENSITY_FLOOR = 0.5
"""Least width of a range of percentiles, in standard deviations of the normalised image."""
_AXES = ("z", "y", "x")


@dataclass(frozen=True)
class Likeness:
    """How a case compares with the training data.

    Attributes:
        distance: of the quantity that lies farthest outside its training range, in widths of that range; 0: all lie
            inside; None: nothing is known of the training data.
        unlike: what lies far outside, in words.
        unknown: what could not be compared.
    """

    distance: float | None
    unlike: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """One cell of a table."""
        if self.distance is None:
            return "unknown"
        missing = f" ({' and '.join(self.unknown)} unknown)" if self.unknown else ""
        return ("; ".join(self.unlike) or "no") + missing


@dataclass(frozen=True)
class TrainingRange:
    """Range of each quantity over the training cases.

    Attributes:
        geometry: "voxel size" and "field of view": (axes, 2) ends of the range in mm; empty if not known.
        intensities: (channels, percentiles, 2) ends of the range of each percentile; None: not known.
        channels: names of the channels.
    """

    geometry: Mapping[str, np.ndarray] = field(default_factory=dict)
    intensities: np.ndarray | None = None
    channels: tuple[str, ...] = ()

    def compare(
        self, data: np.ndarray, spacing: Sequence[float], shape: Sequence[int], missing: Sequence[int] = ()
    ) -> Likeness:
        """Compare a case.

        Args:
            data: (C, *S) preprocessed channels.
            spacing: voxel size (z, y, x) of the image in mm.
            shape: voxels (z, y, x) of the image after nnU-Net's crop to what is not zero.
            missing: indices of channels that the case lacks.
        """
        sides = np.array(spacing, dtype=float)
        values = {"voxel size": sides, "field of view": sides * np.array(shape)}
        distances, words = [], []
        for name, ranges in self.geometry.items():
            for axis, value, (low, high) in zip(_AXES, values[name], ranges, strict=True):
                distance = _outside(value, low, high, FLOORS[name] * (low + high) / 2)
                distances.append(distance)
                if distance >= UNLIKE:
                    words.append(f"{name} {axis} {value:.1f} mm (training: {low:.1f} to {high:.1f})")
        if self.intensities is not None:
            found = percentiles(data)
            for index, (name, own, ranges) in enumerate(zip(self.channels, found, self.intensities, strict=False)):
                if index in missing:
                    continue
                apart = [_outside(v, low, high, INTENSITY_FLOOR) for v, (low, high) in zip(own, ranges, strict=True)]
                distances.append(max(apart))
                if distances[-1] >= UNLIKE:
                    words.append(f"intensities of {name}")
        unknown = [
            *(() if self.geometry else ("geometry",)),
            *(() if self.intensities is not None else ("intensities",)),
        ]
        return Likeness(max(distances) if distances else None, tuple(words), tuple(unknown))


def _outside(value: float, low: float, high: float, floor: float) -> float:
    """How far a value lies outside a range, in widths of the range."""
    return float(max(low - value, value - high, 0.0) / max(high - low, floor))


def read_training_range(
    folder: Path, folds: Sequence[int | str], channels: Sequence[str], kept: Mapping[int | str, Any] | None = None
) -> TrainingRange:
    """What a model folder says about its training data.

    Args:
        folder: the model's.
        folds: those that predict.
        channels: names of the channels.
        kept: what each fold's checkpoint says of its training images, for folds that have no file.

    Raises:
        DataError: one of the files is damaged.
    """
    return TrainingRange(
        _geometry(folder / "dataset_fingerprint.json"),
        _intensities([(folder / f"fold_{fold}" / FILE, (kept or {}).get(fold)) for fold in folds], len(channels)),
        tuple(channels),
    )


def _geometry(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        return {}
    content = read_json(path, error=DataError)
    try:
        spacings = np.array(content["spacings"], dtype=float)
        shapes = np.array(content["shapes_after_crop"], dtype=float)
        if spacings.shape != shapes.shape or spacings.shape[1:] != (3,):
            raise ValueError(f"{spacings.shape} voxel sizes, {shapes.shape} sizes")
        values = {"voxel size": spacings, "field of view": spacings * shapes}
        return {name: np.quantile(v, RANGE, axis=0).T for name, v in values.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, error) from error


def _intensities(sources: Sequence[tuple[Path, Any]], channels: int) -> np.ndarray | None:
    """The union of the folds' ranges, of the file or else of the checkpoint; None if a fold has neither."""
    found = []
    for path, kept in sources:
        content: Any = read_json(path, error=DataError) if path.is_file() else kept
        if content is None:
            return None
        try:
            ranges = np.array(content["ranges"], dtype=float)
            if ranges.shape != (channels, len(LEVELS), 2):
                raise ValueError(f"ranges of shape {ranges.shape}")
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(path, error) from error
        found.append(ranges)
    if not found:
        return None
    return np.stack([np.min([r[..., 0] for r in found], 0), np.max([r[..., 1] for r in found], 0)], axis=-1)


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"The file does not hold what it should: {error}.", where=path, remedy="Copy or remove it.")
