"""The demo from nothing to a report: phantom, nnU-Net's own commands, scores, explanation."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from nnunetv2_textguided.demo.configuration import Size, add_configuration
from nnunetv2_textguided.demo.phantom import PhantomDataset, write_dataset
from nnunetv2_textguided.demo.processes import run_command
from nnunetv2_textguided.demo.record import CaseRecord, DemoRecord, Step, TrainingLog
from nnunetv2_textguided.demo.workspace import CONFIGURATION, DATASET_ID, FOLD, TRAINER, Workspace
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.files import read_json, write_json
from nnunetv2_textguided.settings import BLOCK

T = TypeVar("T")

FULL = Size(
    training_cases=24,
    test_cases=8,
    features=8,
    max_features=64,
    block={"training": {"epochs": 16, "iterations_per_epoch": 20, "val_iterations_per_epoch": 2}},
)
# Everything runs, nothing is learned: for tests.
QUICK = replace(
    FULL,
    training_cases=5,
    test_cases=4,
    features=4,
    max_features=16,
    block={"training": {"epochs": 4, "iterations_per_epoch": 2, "val_iterations_per_epoch": 1}},
)


def run_demo(output: Path, size: Size, *, seed: int, device: str) -> DemoRecord:
    """Run everything but the report.

    Args:
        output: folder to fill; what an earlier demo left there is replaced.
        size: FULL or QUICK.
        seed: of the phantom.
        device: what nnU-Net's -device takes.

    Raises:
        DataError: the output folder holds other files.
        CommandError: a command of nnU-Net failed.
    """
    workspace = Workspace(output.resolve())
    workspace.prepare()
    steps: list[Step] = []
    dataset = _timed(steps, "Draw the phantom", lambda: _draw(workspace, size, seed))
    _plan(workspace, dataset, size, steps)
    _train(workspace, size, device, steps)
    _predict(workspace, dataset, device, steps)
    cases = _timed(steps, "Score, and explain", lambda: _collect(workspace, dataset, seed))
    plans = read_json(workspace.model / "plans.json", error=DataError)
    block = plans["configurations"][CONFIGURATION][BLOCK]
    record = DemoRecord(cases, TrainingLog.read(workspace.training_log), block, steps, seed)
    write_json(workspace.root / "results.json", record.summary())
    return record


def _collect(workspace: Workspace, dataset: PhantomDataset, seed: int) -> list[CaseRecord]:
    from nnunetv2_textguided.demo.collect import collect_cases  # torch and nnU-Net

    return collect_cases(workspace, dataset.testing, seed)


def _timed(steps: list[Step], title: str, work: Callable[[], T]) -> T:
    started = time.monotonic()
    result = work()
    steps.append(Step(title, time.monotonic() - started))
    return result


def _draw(workspace: Workspace, size: Size, seed: int) -> PhantomDataset:
    with tqdm(total=size.training_cases + size.test_cases, desc="phantom") as bar:
        return write_dataset(
            workspace.raw,
            training=size.training_cases,
            testing=size.test_cases,
            seed=seed,
            on_case=lambda _: bar.update(),
        )


def _plan(workspace: Workspace, dataset: PhantomDataset, size: Size, steps: list[Step]) -> None:
    folder, cases = workspace.preprocessed, len(dataset.training)

    def progress() -> tuple[int, str]:
        done = len(list(folder.glob("*/*.pkl")))
        stage = "preprocessing" if (folder / "nnUNetPlans.json").is_file() else "fingerprint"
        return done, stage

    # One process each: starting more costs more than so few cases do.
    command = f"nnUNetv2_plan_and_preprocess -d {DATASET_ID} -c 3d_fullres -npfp 1 -np 1"
    _nnunet(workspace, "Plan and preprocess", command, "plan", cases, progress, steps)
    add_configuration(folder / "nnUNetPlans.json", size)
    write_json(folder / "splits_final.json", list(dataset.splits))


def _train(workspace: Workspace, size: Size, device: str, steps: list[Step]) -> None:
    epochs = size.block["training"]["epochs"]

    def progress() -> tuple[int, str]:
        if not workspace.training_log.is_file():
            return 0, "starting"
        log = TrainingLog.read(workspace.training_log)
        if log.epochs == epochs:
            return epochs, "validation"
        return log.epochs, f"{log.phases[-1]}, loss {log.columns['train_loss'][-1]:.2f}"

    command = f"nnUNetv2_train {DATASET_ID} {CONFIGURATION} {FOLD} -tr {TRAINER} -device {device}"
    _nnunet(workspace, "Train", command, "train", epochs, progress, steps)


def _predict(workspace: Workspace, dataset: PhantomDataset, device: str, steps: list[Step]) -> None:
    output = workspace.predicted

    def progress() -> tuple[int, str]:
        return len(list(output.glob("*.nii.gz"))), ""

    # Without mirroring, so that the masks are exactly those that the heatmaps in the report explain.
    command = (
        f"nnUNetv2_predict -i {shlex.quote(str(workspace.raw / 'imagesTs'))} -o {shlex.quote(str(output))} "
        f"-d {DATASET_ID} -c {CONFIGURATION} -f {FOLD} -tr {TRAINER} -device {device} --disable_tta -npp 1 -nps 1"
    )
    _nnunet(workspace, "Predict", command, "predict", len(dataset.testing), progress, steps)


def _nnunet(
    workspace: Workspace,
    title: str,
    command: str,
    name: str,
    total: int,
    progress: Callable[[], tuple[int, str]],
    steps: list[Step],
) -> None:
    tqdm.write(f"$ {command}")
    seconds = run_command(
        shlex.split(command),
        environment=workspace.environment(os.environ, workers=2),
        log=workspace.log(name),
        title=name,
        total=total,
        progress=progress,
    )
    steps.append(Step(title, seconds, command))
