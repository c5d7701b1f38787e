"""What the scripts of this folder share: nnU-Net's folders, commands, and the row of a case."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from nnunetv2_textguided.evaluation.lesion_matching import results_as_text
from nnunetv2_textguided.evaluation.options import Scoring
from nnunetv2_textguided.evaluation.predictions import Files
from nnunetv2_textguided.evaluation.score import ScoreJob, score_case
from nnunetv2_textguided.evaluation.thresholds import curves_as_text
from nnunetv2_textguided.files import atomic_path, read_json
from nnunetv2_textguided.nnunet.labels import Target

FOLDS = 5
TARGET = Target("csPCa", frozenset({1}), 1, known=frozenset({0, 1}))


def use_folders(work: Path) -> None:
    """Make nnU-Net's three folders in a work folder, and name them and one thread per training to all commands."""
    for name in ("raw", "preprocessed", "results"):
        (work / name).mkdir(parents=True, exist_ok=True)
        os.environ[f"nnUNet_{name}"] = str((work / name).resolve())
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "nnUNet_n_proc_DA": "1"}
    os.environ |= {"nnUNet_def_n_proc": "1", "nnUNet_compile": "f"}


def run(*command: str, check: bool = True) -> None:
    """Run a command of this environment; its output goes to this terminal."""
    own = Path(sys.executable).parent / command[0]
    subprocess.run([str(own) if own.exists() else command[0], *command[1:]], check=check)


def train_fold(dataset: str, fold: int, plans: str, folder: Path) -> None:
    """Train by nnU-Net's command, or go on, and validate; nothing where that is done.

    Args:
        dataset: its full name, DatasetXXX_Name.
        fold: of its splits.
        plans: their name.
        folder: the fold's results.
    """
    if (folder / "validation" / "summary.json").is_file():
        return
    ways = {"checkpoint_final.pth": ["--val"], "checkpoint_latest.pth": ["--c"]}
    way = next((way for file, way in ways.items() if (folder / file).is_file()), [])
    common = ["-p", plans, "-tr", "nnUNetTrainerAlignRefine", "-device", "cpu", "--npz"]
    run("nnUNetv2_train", dataset[7:10], "3d_fullres", str(fold), *common, *way)


def validation_cases(preprocessed: Path, fold: int) -> list[str]:
    """The cases that a fold of a preprocessed data set validates."""
    cases: list[str] = read_json(preprocessed / "splits_final.json", error=ValueError)[fold]["val"]
    return cases


def preprocessed_cases(folder: Path, cases: Sequence[str]) -> Iterator[tuple[str, torch.Tensor, np.ndarray]]:
    """Each case's name, image (1, C, *S) and label map (*S): in these studies a preprocessed case is one patch."""
    from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class

    dataset = infer_dataset_class(str(folder))(str(folder), cases)
    for case in cases:
        image, label, *_ = dataset.load_case(case)
        yield case, torch.from_numpy(np.array(image[:], dtype=np.float32))[None], np.asarray(label[:])[0]


def link(source: str, target: str) -> str:
    """Make a hard link to a file, unless it is there; for shutil.copytree."""
    if not Path(target).exists():
        os.link(Path(source).resolve(), target)
    return target


def rows_of_case(
    case: str, label: Path, files: dict[str, Files], repeat: int, fold: int, networks: str = ""
) -> list[dict[str, Any]]:
    """A case's rows in a table that `nnUNetv2_textguided benchmark compare` reads.

    Args:
        case: its identifier.
        label: its reference.
        files: model -> its prediction.
        repeat: which training, from 1.
        fold: that validates the case.
        networks: name of the trained networks, where all models are the same.
    """
    rows = []
    for model, classes in score_case(ScoreJob(case, label, files, (TARGET,), Scoring())).items():
        score = classes[TARGET.name]
        where = {"labels": "lesion", "model": model, "repeat": repeat, "fold": fold, "case": case}
        dice = f"{score.overlap['dice']:.5g}" if score.lesions else ""
        found = {"lesions": len(score.lesions), "dice": dice, "score": f"{score.score:.5g}"}
        same = {"networks": networks} if networks else {}
        candidates = results_as_text(score.candidates)
        rows.append({**where, **found, "curve": curves_as_text([score.curve]), **same, "candidates": candidates})
    return rows


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV; a column that a row lacks is empty there."""
    with atomic_path(path) as partial, partial.open("w", encoding="utf-8", newline="") as stream:
        columns = list(dict.fromkeys(column for row in rows for column in row))
        writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def keep_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Put rows of trainings into a table, in the place of those of the same training; all others stay.

    Args:
        path: the table.
        rows: new ones, with the table's columns.
    """
    with path.open(encoding="utf-8", newline="") as stream:
        there = list(csv.DictReader(stream))
    new = {_training(row) for row in rows}
    write_rows(path, [*(row for row in there if _training(row) not in new), *rows])


def _training(row: Mapping[str, Any]) -> tuple[str, int, int]:
    return row["model"], int(row["repeat"]), int(row["fold"])


def write_probability(probability: np.ndarray, label: Path, path: Path) -> None:
    """Write a map (*S) in the place of a label map, with its geometry."""
    image = sitk.GetImageFromArray(probability)
    image.CopyInformation(sitk.ReadImage(str(label)))
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path), True)
