"""Sectors on the grid of nnU-Net's preprocessed cases: what phrases of places are learned from.

A map holds a sector's value (sectors.py) where the case's anatomy has one of the two zones, and OTHER + v where it has
another structure of value v, so that nnU-Net's loader, which reads one map beside the labels, brings both.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from batchgenerators.utilities.file_and_folder_operations import load_pickle
from filelock import FileLock

from nnunetv2_textguided.anatomy.labels import anatomy_folder
from nnunetv2_textguided.anatomy.preprocessing import save_map
from nnunetv2_textguided.anatomy.sectors import SECTORS, ZONES, affine_of, sector_map
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.files import visible
from nnunetv2_textguided.nnunet.plans import PlansManager
from nnunetv2_textguided.nnunet.preprocessed import read_map

OTHER = len(SECTORS)
"""Structures that are no zone have this plus their own value."""
_IN_ZONE = OTHER // len(ZONES)


def sector_folder(preprocessed: str | Path) -> Path:
    """Where the sectors of a folder of preprocessed cases lie (nnUNet_preprocessed/DatasetXXX/<data identifier>)."""
    preprocessed = Path(preprocessed)
    return preprocessed.with_name(f"{preprocessed.name}_sectors")


def anatomy_of_codes(labels: Mapping[str, int]) -> np.ndarray:
    """(256,) uint8: the anatomical value that each value of a sector map stands for, 0 for none.

    Args:
        labels: anatomical structures and their values, both zones among them (labels.anatomy_labels).

    Raises:
        DataError: a zone is missing, or another structure's value is too large.
    """
    missing = [zone for zone in ZONES if zone not in labels]
    if missing:
        raise DataError(
            f"Grounding learns from the {' and the '.join(ZONES)}; the data set's anatomy lacks the "
            f"{' and the '.join(missing)}.",
            where="dataset.json, anatomy",
            remedy="Add zone masks (`picai prepare --classes anatomy` does), or set grounding.enabled to false.",
        )
    codes = np.zeros(256, dtype=np.uint8)
    for zone, name in enumerate(ZONES):
        codes[1 + zone * _IN_ZONE : 1 + (zone + 1) * _IN_ZONE] = labels[name]
    for name, value in labels.items():
        if name not in ZONES:
            if value > 255 - OTHER:
                raise DataError(f"{name!r} has the value {value}; beside sectors, values end at {255 - OTHER}.",
                                where="dataset.json, anatomy", remedy="Give it a smaller value.")  # fmt: skip
            codes[OTHER + value] = value
    return codes


def preprocess_sectors(
    preprocessed: Path, labels: Mapping[str, int], plans: PlansManager, configuration: str
) -> tuple[int, int]:
    """Cut the zones of all preprocessed cases into sectors; what is up to date is left alone.

    Args:
        preprocessed: the folder of nnU-Net's preprocessed cases, whose anatomy is preprocessed.
        labels: as in `anatomy_of_codes`.
        plans: nnU-Net's plans.
        configuration: of those plans.

    Returns:
        Number of cases, and how many of them were done now.

    Raises:
        DataError: nothing says where the patient's left is.
    """
    sources, folder = visible(anatomy_folder(preprocessed)), sector_folder(preprocessed)
    sources = [path for path in sources if path.suffix in (".b2nd", ".npz")]
    folder.mkdir(exist_ok=True)
    patch, done = plans.get_configuration(configuration).patch_size, 0
    # Folds that start at the same time wait for the one that does it.
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        for source in sources:
            target = folder / source.name
            if target.is_file() and target.stat().st_mtime >= source.stat().st_mtime:
                continue
            zones = read_map(preprocessed, source.parent, source.stem)
            properties = load_pickle(str(preprocessed / f"{source.stem}.pkl"))
            affine = preprocessed_affine(properties, plans.transpose_forward, zones.shape, source.stem)
            save_map(target, encode_sectors(zones, labels, affine), patch, preprocessed)
            done += 1
    return len(sources), done


def encode_sectors(anatomy: np.ndarray, labels: Mapping[str, int], affine: np.ndarray) -> np.ndarray:
    """(Z, Y, X) uint8 sector map of an anatomical label map.

    Args:
        anatomy: (Z, Y, X) label map, axes in any order.
        labels: as in `anatomy_of_codes`.
        affine: (3, 4) from its voxel indices to LPS coordinates in mm.
    """
    zones = np.zeros(anatomy.shape, dtype=np.uint8)
    for value, name in enumerate(ZONES, start=1):
        zones[anatomy == labels[name]] = value
    codes = sector_map(zones, affine)
    other = (anatomy > 0) & (zones == 0)
    codes[other] = OTHER + anatomy[other]
    return codes


def preprocessed_affine(
    properties: Mapping[str, Any], transpose_forward: list[int], shape: tuple[int, ...], case: str
) -> np.ndarray:
    """(3, 4) from voxel indices of a preprocessed case to LPS coordinates in mm: reoriented, cropped and resampled.

    Args:
        properties: nnU-Net's of the case.
        transpose_forward: the plans' order of axes.
        shape: the preprocessed case's.
        case: its identifier, for errors.

    Raises:
        DataError: the images have no orientation.
    """
    affine = _raw_affine(properties, case)
    axes, offset = affine[:, :3][:, list(transpose_forward)], affine[:, 3]
    start = np.array([low for low, _ in properties["bbox_used_for_cropping"]], dtype=float)
    before = np.array([high - low for low, high in properties["bbox_used_for_cropping"]], dtype=float)
    # Voxels are resampled as cells: the first and the last edge stay where they are.
    ratio = before / np.array(shape)
    return np.column_stack([axes * ratio, offset + axes @ (start + ratio / 2 - 0.5)])


def _raw_affine(properties: Mapping[str, Any], case: str) -> np.ndarray:
    if "sitk_stuff" in properties and len(properties["sitk_stuff"]["spacing"]) == 3:
        stuff = properties["sitk_stuff"]
        return affine_of(stuff["spacing"], stuff["origin"], stuff["direction"])
    if "nibabel_stuff" in properties:
        stuff = properties["nibabel_stuff"]
        # RAS, of indices (x, y, z); nnU-Net's arrays are (z, y, x).
        matrix = np.asarray(stuff.get("reoriented_affine", stuff["original_affine"]), dtype=float)[:3]
        return np.diag([-1.0, -1.0, 1.0]) @ np.column_stack([matrix[:, 2::-1], matrix[:, 3]])
    raise DataError(
        f"The images of case {case} do not say where the patient's left, back and head are.",
        where=f"preprocessed properties of {case}",
        remedy="Use NIfTI or MHA images with an orientation, or set grounding.enabled to false.",
    )
