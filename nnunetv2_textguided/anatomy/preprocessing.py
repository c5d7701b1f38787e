"""Bring anatomical label maps onto the grid of nnU-Net's preprocessed cases.

nnU-Net keeps a cascade's former predictions beside its preprocessed cases in the same way, and its data loader reads
and augments them together with the labels (nnunetv2/training/dataloading/nnunet_dataset.py); anatomy is kept likewise.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from batchgenerators.utilities.file_and_folder_operations import load_pickle
from filelock import FileLock
from nibabel.filebasedimages import ImageFileError

from nnunetv2_textguided.anatomy.labels import KEY, RAW_FOLDER, anatomy_folder, anatomy_labels
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.files import atomic_path, read_json, remove_partials, visible
from nnunetv2_textguided.nnunet.plans import PlansManager
from nnunetv2_textguided.nnunet.preprocessed import chunks_of_labels, dataset_class, is_blosc2

# What nnU-Net's readers (SimpleITK, nibabel, tifffile, PNG) raise over damaged files.
_UNREADABLE = (RuntimeError, OSError, EOFError, ValueError, AssertionError, zlib.error, ImageFileError)


@dataclass(frozen=True)
class Job:
    """What preprocessing one case's anatomy needs.

    Attributes:
        case: identifier.
        source: raw label map.
        preprocessed: folder of nnU-Net's preprocessed cases.
        values: what the label map may hold beside 0.
        plans: nnU-Net's plans.
        configuration: name of the configuration.
    """

    case: str
    source: Path
    preprocessed: Path
    values: tuple[int, ...]
    plans: dict[str, Any]
    configuration: str

    @property
    def target(self) -> Path:
        """The preprocessed label map, with the suffix of nnU-Net's cases."""
        suffix = "b2nd" if is_blosc2(self.preprocessed) else "npz"
        return anatomy_folder(self.preprocessed) / f"{self.case}.{suffix}"

    @property
    def is_done(self) -> bool:
        """Whether the result is there and newer than what it is made from."""
        made_from = (self.source, self.preprocessed / f"{self.case}.pkl")
        return self.target.is_file() and self.target.stat().st_mtime >= max(p.stat().st_mtime for p in made_from)


def preprocess_anatomy(
    raw: Path, preprocessed: Path, plans_name: str, configuration: str, processes: int
) -> tuple[int, int, Path]:
    """Preprocess the anatomy of a data set's training cases; what is up to date is left alone.

    Args:
        raw: the data set's folder in nnUNet_raw.
        preprocessed: its folder in nnUNet_preprocessed.
        plans_name: of the plans that its cases were preprocessed with.
        configuration: of those plans.
        processes: worker processes.

    Returns:
        Number of cases, how many of them were preprocessed now, and the folder.

    Raises:
        DataError: the data set has no anatomy, or a file is missing or does not fit its case; names all of them.
    """
    jobs = find_jobs(raw, preprocessed, plans_name, configuration)
    folder = anatomy_folder(jobs[0].preprocessed)
    folder.mkdir(exist_ok=True)
    # Folds that start at the same time wait for the one that does it.
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        todo = [job for job in jobs if not job.is_done]
        problems = sorted(filter(None, _run(todo, processes)))
    if problems:
        raise DataError(
            f"The anatomy of {len(problems)} of {len(jobs)} cases could not be preprocessed:\n    "
            + "\n    ".join(problems),
            where=raw / RAW_FOLDER,
            remedy="Correct these files and run the command again: the others are done.",
        )
    return len(jobs), len(todo), folder


def find_jobs(raw: Path, preprocessed: Path, plans_name: str, configuration: str) -> list[Job]:
    """One job for each of nnU-Net's preprocessed cases.

    Raises:
        DataError: there is no anatomy, no preprocessed case, or a case without a label map.
    """
    dataset = read_json(preprocessed / "dataset.json", error=DataError)
    values = tuple(anatomy_labels(dataset, preprocessed / "dataset.json").values())
    if not values:
        raise DataError(
            f"The data set's description has no {KEY!r}.",
            where=preprocessed / "dataset.json",
            remedy=f'Put the maps into {raw / RAW_FOLDER} and {{"anatomy": {{"peripheral zone": 1, ...}}}} into '
            "dataset.json, there and in nnUNet_raw.",
        )
    plans = read_json(preprocessed / f"{plans_name}.json", error=DataError)
    chosen = PlansManager(plans).get_configuration(configuration)
    folder = preprocessed / chosen.data_identifier
    cases = [path.stem for path in visible(folder, "*.pkl")]
    if not cases:
        raise DataError("There are no preprocessed cases.", where=folder, remedy="Run nnUNetv2_preprocess first.")
    sources = {case: raw / RAW_FOLDER / (case + dataset["file_ending"]) for case in cases}
    missing = [case for case, path in sources.items() if not path.is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(cases)} cases have no anatomy: {', '.join(missing[:10])}"
            + (", ..." if len(missing) > 10 else ""),
            where=raw / RAW_FOLDER,
            remedy="Every training case needs a label map there, if only of zeros.",
        )
    return [Job(case, sources[case], folder, values, plans, configuration) for case in cases]


def _run(jobs: Sequence[Job], processes: int) -> Iterable[str | None]:
    if min(processes, len(jobs)) <= 1:
        return [preprocess_case(job) for job in jobs]
    # Spawned, as nnU-Net's own workers: its resampling uses threads, which a fork does not survive.
    with ProcessPoolExecutor(min(processes, len(jobs)), mp_context=get_context("spawn")) as pool:
        return list(pool.map(preprocess_case, jobs))


def preprocess_case(job: Job) -> str | None:
    """Preprocess one case's anatomy; returns what is wrong with it, if anything."""
    manager = PlansManager(job.plans)
    try:
        values, _ = manager.image_reader_writer_class().read_seg(str(job.source))
    except _UNREADABLE as e:
        return f"{job.case}: cannot be read: {' '.join(str(e).split())}"
    unknown = sorted(set(np.unique(values).tolist()) - {0, *job.values})
    if unknown:
        found = ", ".join(f"{value:g}" for value in unknown)
        return f"{job.case}: holds {found}, which {KEY!r} in dataset.json does not name"
    properties = load_pickle(str(job.preprocessed / f"{job.case}.pkl"))
    values = values.transpose([0, *(axis + 1 for axis in manager.transpose_forward)])
    expected = tuple(properties["shape_before_cropping"])
    if values.shape[1:] != expected:
        return f"{job.case}: has {values.shape[1:]} voxels, its image {expected}"
    patch_size = manager.get_configuration(job.configuration).patch_size
    save_map(job.target, _resample(values, properties, job, manager), patch_size, job.preprocessed)
    return None


def _resample(values: np.ndarray, properties: dict[str, Any], job: Job, manager: PlansManager) -> np.ndarray:
    """Crop and resample (1, *S) as DefaultPreprocessor did with the case's label; without the channel axis."""
    configuration = manager.get_configuration(job.configuration)
    box = (slice(None), *(slice(start, end) for start, end in properties["bbox_used_for_cropping"]))
    original = [properties["spacing"][axis] for axis in manager.transpose_forward]
    spacing = list(configuration.spacing)
    # 2d leaves the spacing between slices as it is.
    spacing = spacing if len(spacing) == len(original) else [original[0], *spacing]
    case = dataset_class(job.preprocessed)(str(job.preprocessed), [job.case]).load_case(job.case)
    resampled = configuration.resampling_fn_seg(values[box], case[0].shape[1:], original, spacing)
    return np.asarray(resampled)[0].astype(np.uint8)


def save_map(target: Path, values: np.ndarray, patch_size: Sequence[int], preprocessed: Path) -> None:
    """Write a label map (*S) as nnU-Net stores those of its preprocessed cases, whole or not at all.

    Args:
        target: a file with the suffix of nnU-Net's cases.
        values: the map.
        patch_size: of the configuration, for the layout of the file.
        preprocessed: folder of nnU-Net's preprocessed cases.
    """
    remove_partials(target)
    with atomic_path(target) as temporary:
        stem = str(temporary)[: -len(target.suffix)]
        storage = {} if target.suffix == ".npz" else chunks_of_labels(values.shape, patch_size)
        dataset_class(preprocessed).save_seg(values, stem, **storage)
