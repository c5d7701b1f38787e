"""The demo's data: cases of a procedural bpMRI phantom, and a valid nnU-Net v2 raw data set of them.

Every image is made from a seed; nothing is learned from, or copied from, patients. What a network does here says
nothing about what it does on patients: the phantom only lets everything run, and be looked at, with nothing downloaded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunetv2_textguided.demo.anatomy import Lesion, draw_anatomy
from nnunetv2_textguided.demo.scanner import scan
from nnunetv2_textguided.demo.shapes import Grid, Volume
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.files import atomic_path, write_json

CHANNELS = ("T2W", "ADC", "HBV")
LESION = "csPCa"
# Case i has LESIONS[i % 4] lesions: a quarter of the cases has none, as far too few phantoms and all clinics do.
LESIONS = (1, 2, 1, 0)
FOLDS = 5


@dataclass(frozen=True)
class PhantomCase:
    """One rendered case. All arrays have the grid's shape (Z, Y, X)."""

    images: dict[str, Volume]
    """By channel name: T2W and HBV in arbitrary units, ADC in 1e-6 mm2/s."""
    labels: NDArray[np.uint8]
    """Values as in `label_values`."""
    lesions: tuple[Lesion, ...]


@dataclass(frozen=True)
class PhantomDataset:
    """Where a data set lies and what is in it."""

    folder: Path
    training: tuple[str, ...]
    testing: tuple[str, ...]
    splits: tuple[dict[str, list[str]], ...]
    """As nnU-Net's splits_final.json, which belongs into nnUNet_preprocessed."""


def label_values(zones: bool) -> dict[str, int]:
    """dataset.json's labels: csPCa alone, or after the zones of the gland."""
    names = ("background", "peripheral zone", "transition zone", LESION) if zones else ("background", LESION)
    return {name: value for value, name in enumerate(names)}


def render_case(seed: Sequence[int], lesions: int, *, grid: Grid | None = None, zones: bool = False) -> PhantomCase:
    """Render one case.

    Args:
        seed: the same seed gives the same case, whatever else is rendered before it.
        lesions: number of clinically significant lesions; 0 is a case without csPCa.
        grid: voxels; None is Grid().
        zones: label the peripheral zone and the rest of the gland as well.
    """
    grid = grid or Grid()
    rng = np.random.default_rng(list(seed))
    anatomy = draw_anatomy(rng, grid, lesions)
    labels = np.zeros(grid.size, np.uint8)
    values = label_values(zones)
    if zones:
        gland = anatomy.gland > 0.5
        labels[gland] = values["transition zone"]
        labels[gland & (anatomy.peripheral > 0.5)] = values["peripheral zone"]
    labels[anatomy.lesion > 0.5] = values[LESION]
    return PhantomCase(scan(rng, grid, anatomy), labels, anatomy.lesions)


def write_dataset(
    folder: Path,
    *,
    training: int,
    testing: int,
    seed: int = 0,
    grid: Grid | None = None,
    zones: bool = False,
    on_case: Callable[[str], object] = lambda identifier: None,
) -> PhantomDataset:
    """Write an nnU-Net v2 raw data set: imagesTr, labelsTr, imagesTs, labelsTs, dataset.json and phantom.json.

    Args:
        folder: nnUNet_raw/DatasetXXX_Name.
        training: number of training cases, at least one per fold.
        testing: number of test cases.
        seed: of the whole data set; case i of either part does not depend on the number of cases.
        grid: voxels; None is Grid().
        zones: label the zones as classes of their own.
        on_case: called with each case's identifier when it is written.

    Raises:
        DataError: too few cases.
    """
    if training < FOLDS or testing < 1:
        raise DataError(f"{training} training and {testing} test cases are too few: at least {FOLDS} and 1 are needed.")
    grid = grid or Grid()
    facts: dict[str, list[dict]] = {}
    parts = {"Tr": [f"phantom_{i:03d}" for i in range(training)], "Ts": [f"test_{i:03d}" for i in range(testing)]}
    for part_seed, (part, identifiers) in enumerate(parts.items()):
        for index, identifier in enumerate(identifiers):
            case = render_case((seed, part_seed, index), LESIONS[index % len(LESIONS)], grid=grid, zones=zones)
            _write_case(folder, part, identifier, case, grid)
            facts[identifier] = [asdict(lesion) for lesion in case.lesions]
            on_case(identifier)
    write_json(folder / "phantom.json", {"seed": seed, "grid": asdict(grid), "zones": zones, "lesions": facts})
    write_json(folder / "dataset.json", _description(folder.name, training, zones))
    return PhantomDataset(folder, tuple(parts["Tr"]), tuple(parts["Ts"]), split_folds(parts["Tr"]))


def _description(name: str, training: int, zones: bool) -> dict[str, Any]:
    return {
        "name": name,
        "description": "Procedural bpMRI phantom; no patient data.",
        "channel_names": {str(i): name for i, name in enumerate(CHANNELS)},
        "labels": label_values(zones),
        "numTraining": training,
        "file_ending": ".nii.gz",
    }


def split_folds(identifiers: Sequence[str]) -> tuple[dict[str, list[str]], ...]:
    """Five folds, each case in one validation part; cases with equally many lesions are dealt out evenly."""
    by_lesions = sorted(range(len(identifiers)), key=lambda i: (LESIONS[i % len(LESIONS)], i))
    folds = [sorted(identifiers[i] for i in by_lesions[fold::FOLDS]) for fold in range(FOLDS)]
    return tuple({"train": sorted(set(identifiers) - set(validation)), "val": validation} for validation in folds)


def _write_case(folder: Path, part: str, identifier: str, case: PhantomCase, grid: Grid) -> None:
    for channel, name in enumerate(CHANNELS):
        image = np.round(case.images[name]).astype(np.int16)
        _write_image(folder / f"images{part}" / f"{identifier}_{channel:04d}.nii.gz", image, grid)
    _write_image(folder / f"labels{part}" / f"{identifier}.nii.gz", case.labels, grid)


def _write_image(path: Path, array: NDArray, grid: Grid) -> None:
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(array)
    spacing = [float(s) for s in reversed(grid.spacing)]
    image.SetSpacing(spacing)
    # World coordinates start at the centre of the gland's neighbourhood: x to the left, y to the back, z to the head.
    image.SetOrigin([-s * (n - 1) / 2 for s, n in zip(spacing, reversed(grid.size), strict=True)])
    with atomic_path(path) as temporary:
        sitk.WriteImage(image, str(temporary), useCompression=True)
