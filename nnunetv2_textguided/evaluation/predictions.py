"""Finding and reading predictions: nnU-Net's probabilities, probability maps, detection maps and masks."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.evaluation.detection import is_detection_map
from nnunetv2_textguided.imaging.images import check_mask_values, read_image
from nnunetv2_textguided.nnunet.labels import Target

IMAGE_SUFFIXES = (".nii.gz", ".nii", ".mha")
# What algorithms and picai_eval append to the case identifier.
_ENDINGS = ("_detection_map", "_softmax", "")
UNKNOWN_VALUES = "Check that labels, predictions and the dataset.json beside them are of one data set."
_HIGHEST = 1 + 1e-5  # of a probability: single precision's rounding
_TOLERANCE = 0.01  # of the sum over classes: half precision's rounding of each


class Kind(Enum):
    """What a prediction is."""

    PROBABILITIES = "nnU-Net probabilities (.npz)"
    PROBABILITY_MAP = "probability map"
    DETECTION_MAP = "detection map"
    MASK = "mask without probabilities: every lesion has confidence 1, so AUROC and AP say little"

    @property
    def has_probabilities(self) -> bool:
        """Whether lesion candidates have to be extracted from it."""
        return self in (Kind.PROBABILITIES, Kind.PROBABILITY_MAP)


@dataclass(frozen=True)
class Files:
    """The files of one case's prediction.

    Attributes:
        probabilities: nnU-Net's `.npz` (from `--npz` or `--save_probabilities`), if there is one.
        image: an image file: nnU-Net's mask, a probability map or a detection map.
    """

    probabilities: Path | None = None
    image: Path | None = None


@dataclass(frozen=True)
class Prediction:
    """One case's prediction on its own grid.

    Attributes:
        kind: what it is.
        map: float32 (z, y, x): probability of the target, or a detection map.
        mask: Boolean (z, y, x): what overlap metrics compare.
        grid: an image with the prediction's geometry; None for an `.npz` alone, which has none.
    """

    kind: Kind
    map: np.ndarray
    mask: np.ndarray
    grid: sitk.Image | None


def find_predictions(folder: Path) -> dict[str, Files]:
    """The predictions in `folder` by case identifier.

    Raises:
        DataError: the folder does not exist, holds none, or holds two images of one case.
    """
    if not folder.is_dir():
        raise DataError("The prediction folder does not exist.", where=folder, remedy="Check --predictions.")
    found: dict[str, Files] = {}
    for path in sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")):
        case = _case(path, (".npz", *IMAGE_SUFFIXES))
        if case is None:
            continue
        earlier = found.get(case, Files())
        if path.suffix == ".npz":
            found[case] = Files(path, earlier.image)
        elif earlier.image is not None:
            raise DataError(
                f"Case {case} has two predictions, {earlier.image.name} and {path.name}.",
                where=folder,
                remedy="Keep the one that is to be evaluated.",
            )
        else:
            found[case] = Files(earlier.probabilities, path)
    if not found:
        raise DataError(
            f"The prediction folder holds no .npz, {', '.join(IMAGE_SUFFIXES)} file.",
            where=folder,
            remedy="Predict with `nnUNetv2_predict ... --save_probabilities`, or validate with `--npz`.",
        )
    return found


def _case(path: Path, suffixes: Sequence[str]) -> str | None:
    for suffix in suffixes:
        if path.name.endswith(suffix):
            stem = path.name[: -len(suffix)]
            return next(stem[: len(stem) - len(end)] for end in _ENDINGS if stem.endswith(end))
    return None


def read_prediction(files: Files, target: Target, threshold: float = 0.5) -> Prediction:
    """Read one prediction of one class; see `read_predictions`."""
    return read_predictions(files, (target,), threshold)[0]


def read_predictions(files: Files, targets: Sequence[Target], threshold: float = 0.5) -> list[Prediction]:
    """Read one case's prediction, each file once.

    Args:
        files: from `find_predictions`.
        targets: the classes that are evaluated.
        threshold: where a mask is made from a probability map alone.

    Returns:
        The prediction of each target.

    Raises:
        DataError: a file is damaged, or is not what its name says.
    """
    image = None if files.image is None else read_image(files.image)
    if files.probabilities is not None:
        probabilities = _load(files.probabilities, targets)
        return [_of_class(probabilities, target, image, files) for target in targets]
    if image is None or files.image is None:
        raise ValueError("a prediction without any file")
    values = sitk.GetArrayFromImage(image)
    if np.issubdtype(values.dtype, np.integer) or _is_mask(values, targets, files.image):
        check_mask_values(values, files.image, targets[0].known, UNKNOWN_VALUES)
        masks = [np.isin(values, list(target.values)) for target in targets]
        return [Prediction(Kind.MASK, mask.astype(np.float32), mask, image) for mask in masks]
    return [_of_map(values, threshold, image, files.image)] * len(targets)


def _is_mask(values: np.ndarray, targets: Sequence[Target], path: Path) -> bool:
    """Whether a floating-point image is a label map: whole numbers above 1, which confidences are not.

    Raises:
        DataError: it may be either: it has only 0 and 1, and 1 is another label than the one that is scored.
    """
    if any(f"{end}." in path.name for end in _ENDINGS[:2]) or not values.size or not (values == np.round(values)).all():
        return False
    if values.max() == 1 and not all(1 in target.values for target in targets):
        raise DataError(
            f"The file may be a label map, where 1 is not {targets[0].name}, or a map of confidences.",
            where=path,
            remedy="Save label maps as integers; call detection maps CASE_detection_map.",
        )
    return bool(values.max() > 1)


def _of_map(values: np.ndarray, threshold: float, image: sitk.Image, path: Path) -> Prediction:
    if values.size == 0 or not (values.min() >= 0 and np.isfinite(values).all()):
        raise _no_probabilities("The map has negative, infinite or NaN voxels", path)
    values = values.astype(np.float32)
    if is_detection_map(values):  # its confidences may be any positive numbers
        return Prediction(Kind.DETECTION_MAP, values, values > 0, image)
    if values.max() > _HIGHEST:
        raise _no_probabilities(f"The map has values up to {values.max():.4g} and is no detection map", path)
    return Prediction(Kind.PROBABILITY_MAP, values, values >= threshold, image)


def _of_class(probabilities: np.ndarray, target: Target, image: sitk.Image | None, files: Files) -> Prediction:
    chosen = probabilities[target.channel].astype(np.float32)
    if image is not None:
        values = sitk.GetArrayViewFromImage(image)
        if values.shape != chosen.shape:
            what = f"The probabilities have the shape {chosen.shape}, the mask beside them {values.shape}."
            raise DataError(what, where=f"{files.probabilities}, {files.image}", remedy="Predict the case again.")
        mask = np.isin(values, list(target.values))
    elif target.regions:
        mask = chosen > 0.5
    else:
        mask = probabilities.argmax(axis=0) == target.channel
    return Prediction(Kind.PROBABILITIES, chosen, mask, image)


def _load(path: Path, targets: Sequence[Target]) -> np.ndarray:
    """Probabilities (class, z, y, x)."""
    try:
        with np.load(path) as archive:
            name = next((n for n in ("probabilities", "softmax") if n in archive.files), None)
            array = archive[name] if name else None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"The file is truncated or damaged: {error}.", where=path, remedy="Predict it again."
        ) from error
    if array is None or array.ndim != 4 or not array.size or not np.issubdtype(array.dtype, np.floating):
        raise DataError(
            "The file does not hold nnU-Net's probabilities, float (class, z, y, x).",
            where=path,
            remedy="Predict with `nnUNetv2_predict ... --save_probabilities`.",
        )
    for target in targets:
        if array.shape[0] <= target.channel:
            raise DataError(
                f"The probabilities have {array.shape[0]} channels, {target.name!r} is channel {target.channel}.",
                where=path,
                remedy="Put the dataset.json of the model beside the predictions or the labels.",
            )
    _check_probabilities(array, any(target.regions for target in targets), path)
    return array


def _check_probabilities(array: np.ndarray, regions: bool, path: Path) -> None:
    lowest, highest = float(array.min()), float(array.max())
    if not (lowest >= 0 and highest <= _HIGHEST):  # NaN compares false and is caught too
        raise _no_probabilities(f"The probabilities have values from {lowest:.4g} to {highest:.4g}", path)
    if not regions:
        total = array.sum(axis=0, dtype=np.float32)
        if not np.allclose(total, 1, rtol=0, atol=_TOLERANCE):
            worst = float(total.flat[np.abs(total - 1).argmax()])
            raise _no_probabilities(f"The probabilities of the classes add up to {worst:.4g} in a voxel", path)


def _no_probabilities(what: str, path: Path) -> DataError:
    return DataError(
        f"{what}: these are no probabilities, which lie between 0 and 1 and, of classes that exclude each other, add "
        "up to 1.",
        where=path,
        remedy="Save probabilities (after softmax, or sigmoid for regions), not logits.",
    )
