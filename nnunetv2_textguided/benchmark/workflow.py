"""A study as files that Snakemake runs: the Snakefile, which is always the same, and the study's own configuration."""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nnunetv2_textguided.benchmark.facts import ModelFacts
from nnunetv2_textguided.benchmark.study import Cell, Study
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.files import read_json, write_json
from nnunetv2_textguided.nnunet.variant import Variant

FOLDER = "benchmark_workflow"
"""In the data set's folder in nnUNet_results; also Snakemake's working directory."""


@dataclass(frozen=True)
class Training:
    """What a job needs to know of its training.

    Attributes:
        cell: which.
        dataset: full name of the data set.
        device: what nnU-Net's -device takes.
        gpus: for each training at a time on this machine, the entry of CUDA_VISIBLE_DEVICES; empty: as found.
        cases: the fold's validation cases.
        facts: of the model, for the record.
        program: what to run instead of nnU-Net's command; for tests of everything around it.
    """

    cell: Cell
    dataset: str
    device: str
    gpus: tuple[str, ...]
    cases: tuple[str, ...]
    facts: ModelFacts
    program: tuple[str, ...] = ()


def training_key(cell: Cell) -> str:
    """A training's name in the workflow: its folder below that of the data set."""
    return f"{cell.model.name}/fold_{cell.fold}"


def write_workflow(
    study: Study,
    folder: Path,
    facts: Mapping[Variant, ModelFacts],
    cases: Mapping[int, tuple[str, ...]],
    *,
    device: str,
    gpus: tuple[str, ...] = (),
    gpus_per_training: int = 0,
    program: tuple[str, ...] = (),
) -> Path:
    """Write the Snakefile and the study's configuration; returns the latter's path.

    Args:
        study: all trainings.
        folder: where to.
        facts: of every variant.
        cases: validation cases of every fold.
        device, gpus, program: see Training.
        gpus_per_training: of Snakemake's resource `gpu`.
    """
    trainings = _trainings(study)
    digest = hashlib.sha256(json.dumps(list(trainings)).encode()).hexdigest()[:8]
    path = folder.resolve() / f"{study.configuration}_{digest}.json"
    content = {
        "dataset": study.dataset,
        "device": device,
        "gpus": list(gpus),
        "gpus_per_training": gpus_per_training,
        "python": shlex.quote(sys.executable),
        "study": shlex.quote(str(path)),
        "program": list(program),
        "trainings": trainings,
        "validation_cases": {str(fold): list(cases[fold]) for fold in study.folds},
        "facts": {variant.name: asdict(f) for variant, f in facts.items()},
    }
    write_json(path, content)
    (folder / "Snakefile").write_bytes((Path(__file__).parent / "Snakefile").read_bytes())
    return path


def _trainings(study: Study) -> dict[str, dict[str, Any]]:
    return {
        training_key(cell): {**asdict(cell.variant), "fold": cell.fold, "repeat": cell.repeat, "order": order}
        for order, cell in enumerate(study.cells())
    }


def read_training(path: Path, key: str) -> Training:
    """One training of a study's configuration.

    Raises:
        DataError: the file is missing or damaged, or has no such training.
    """
    content = read_json(path, error=DataError)
    if key not in content["trainings"]:
        raise DataError(f"The study has no training {key!r}.", where=path)
    own = content["trainings"][key]
    variant = Variant(own["trainer"], own["plans"], own["configuration"])
    facts = content["facts"][variant.name]
    return Training(
        Cell(variant, own["fold"], own["repeat"]),
        content["dataset"],
        content["device"],
        tuple(content["gpus"]),
        tuple(content["validation_cases"][str(own["fold"])]),
        ModelFacts(**{**facts, "patch_size": tuple(facts["patch_size"])}),
        tuple(content["program"]),
    )
