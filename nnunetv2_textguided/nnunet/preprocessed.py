"""nnU-Net's preprocessed cases: which there are, and how label maps are stored beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, infer_dataset_class, nnUNetDatasetBlosc2
from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA


def dataset_class(folder: str | Path) -> Any:
    """nnU-Net's class that reads a folder of preprocessed cases."""
    return infer_dataset_class(str(folder))


def is_blosc2(folder: str | Path) -> bool:
    """Whether the cases of a folder are stored as .b2nd; else as .npz."""
    return bool(dataset_class(folder) is nnUNetDatasetBlosc2)


def read_map(preprocessed: str | Path, folder: str | Path, case: str) -> np.ndarray:
    """A case's label map (*S) in a folder beside the preprocessed cases, as nnU-Net's loader reads it."""
    dataset = dataset_class(preprocessed)(str(preprocessed), [case], str(folder))
    return np.asarray(dataset.load_case(case)[2][:])


def chunks_of_labels(shape: Sequence[int], patch_size: Sequence[int]) -> dict[str, list[int]]:
    """Storage of a label map (*S) as nnU-Net stores a former stage's (nnunetv2/inference/export_prediction.py)."""
    blocks, chunks = comp_blosc2_params((1, *shape), tuple(patch_size), bytes_per_pixel=1)
    return {"blocks_seg": [int(n) for n in blocks[1:]], "chunks_seg": [int(n) for n in chunks[1:]]}


def loader_processes() -> int:
    """Processes that nnU-Net's loaders use here; 0: none but the training's own."""
    return int(get_allowed_n_proc_DA())
