"""From a finished run to its test cases: images, reference, predicted mask, scores, and what the text did."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from tqdm import tqdm

from nnunetv2_textguided.demo.model import Model, explain_case, load_model, untrained_twin
from nnunetv2_textguided.demo.phantom import CHANNELS, LESION
from nnunetv2_textguided.demo.record import CaseRecord
from nnunetv2_textguided.demo.scores import score_masks
from nnunetv2_textguided.demo.workspace import Workspace
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.files import read_json


def collect_cases(workspace: Workspace, identifiers: Sequence[str], seed: int) -> list[CaseRecord]:
    """Read, score and explain the test cases of a finished run.

    Args:
        workspace: the run's folder.
        identifiers: the test cases.
        seed: of the untrained network's weights.

    Raises:
        DataError: a file is missing or damaged.
    """
    trained = load_model(workspace.model)
    untrained = untrained_twin(trained, seed)
    facts = read_json(workspace.raw / "phantom.json", error=DataError)["lesions"]
    return [
        _collect(workspace, identifier, trained, untrained, facts[identifier])
        for identifier in tqdm(identifiers, desc="explain")
    ]


def _collect(
    workspace: Workspace, identifier: str, trained: Model, untrained: Model, lesions: Sequence[dict[str, Any]]
) -> CaseRecord:
    label = trained.dataset["labels"][LESION]
    files = [workspace.raw / "imagesTs" / f"{identifier}_{i:04d}.nii.gz" for i in range(len(CHANNELS))]
    reference = _read(workspace.raw / "labelsTs" / f"{identifier}.nii.gz") == label
    predicted = _read(workspace.predicted / f"{identifier}.nii.gz") == label
    return CaseRecord(
        identifier,
        {name: _read(file).astype(np.float32) for name, file in zip(CHANNELS, files, strict=True)},
        reference,
        predicted,
        explain_case(trained, files, label),
        score_masks(identifier, reference, predicted),
        score_masks(identifier, reference, explain_case(untrained, files, label).after),
        lesions,
    )


def _read(path: Path) -> NDArray:
    try:
        return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    except RuntimeError as e:
        raise DataError("The image cannot be read.", where=path, remedy="Run the demo again.") from e
