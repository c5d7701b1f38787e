"""The demo from nothing to its results: phantom, nnU-Net's own commands, scores, explanation."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from nnunetv2_textguided.demo.configuration import Size, add_configuration
from nnunetv2_textguided.demo.phantom import PhantomDataset, write_dataset
from nnunetv2_textguided.demo.record import CaseRecord, DemoRecord, Step, TrainingLog
from nnunetv2_textguided.demo.workspace import CONFIGURATION, DATASET_ID, FOLD, TRAINER, Workspace
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.files import read_json, visible, write_json
from nnunetv2_textguided.nnunet.fingerprint import extract_fingerprint
from nnunetv2_textguided.nnunet.folders import variables
from nnunetv2_textguided.processes.command import run_command
from nnunetv2_textguided.settings import BLOCK

if TYPE_CHECKING:
    from collections.abc import Iterator

FULL = Size(
    training_cases=24,
    test_cases=8,
    features=8,
    max_features=64,
    block={
        "training": {"epochs": 16, "iterations_per_epoch": 18, "val_iterations_per_epoch": 4},
        # 300 iterations are too few for nnU-Net's momentum of 0.99, which remembers the last hundred.
        "optimiser": {"lr": 0.02, "text_lr": 0.02, "momentum": 0.95},
    },
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
FINGERPRINT_VOXELS = 1e6


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
    run = _Run(Workspace(output.resolve()), size, device)
    run.workspace.prepare()
    with run.step("Draw the phantom"):
        dataset = run.draw(seed)
    with run.step("Fingerprint"):
        run.fingerprint()
    run.plan(dataset)
    run.train()
    run.predict(dataset)
    with run.step("Score, and explain"):
        cases = run.collect(dataset, seed)
    record = DemoRecord(cases, TrainingLog.read(run.workspace.training_log), run.trained_block(), run.steps, seed)
    write_json(run.workspace.root / "results.json", record.summary())
    return record


class _Run:
    """One run: each method is a step."""

    def __init__(self, workspace: Workspace, size: Size, device: str) -> None:
        self.workspace, self.size, self.device = workspace, size, device
        self.environment = workspace.environment(os.environ, workers=1)
        self.steps: list[Step] = []

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.steps.append(Step(title, time.monotonic() - started))

    def draw(self, seed: int) -> PhantomDataset:
        size = self.size
        with tqdm(total=size.training_cases + size.test_cases, desc="phantom") as bar:
            return write_dataset(
                self.workspace.raw,
                training=size.training_cases,
                testing=size.test_cases,
                seed=seed,
                on_case=lambda _: bar.update(),
            )

    def fingerprint(self) -> None:
        """nnU-Net's fingerprint from fewer voxels.

        By default it draws 1e8, with replacement, for statistics that z-scored MRI never uses: on two cores that takes
        20 s and 4 GB, for a data set of 10 MB.
        """
        with variables(self.environment):
            extract_fingerprint(DATASET_ID, FINGERPRINT_VOXELS)

    def plan(self, dataset: PhantomDataset) -> None:
        folder = self.workspace.preprocessed

        def progress() -> tuple[int, str]:
            return len(visible(folder, "*/*.pkl")), ""

        # One process: starting more costs more than they save on so few cases.
        command = f"nnUNetv2_plan_and_preprocess -d {DATASET_ID} -c 3d_fullres -npfp 1 -np 1"
        self.nnunet("Plan and preprocess", command, "plan", len(dataset.training), progress)
        add_configuration(folder / "nnUNetPlans.json", self.size)
        write_json(folder / "splits_final.json", list(dataset.splits))

    def train(self) -> None:
        epochs = self.size.block["training"]["epochs"]
        table = self.workspace.training_log

        def progress() -> tuple[int, str]:
            if not table.is_file():
                return 0, "starting"
            log = TrainingLog.read(table)
            if log.epochs == epochs:
                return epochs, "validation"
            return log.epochs, f"{log.phases[-1]}, loss {log.columns['train_loss'][-1]:.2f}"

        command = f"nnUNetv2_train {DATASET_ID} {CONFIGURATION} {FOLD} -tr {TRAINER} -device {self.device}"
        self.nnunet("Train", command, "train", epochs, progress)

    def predict(self, dataset: PhantomDataset) -> None:
        images, output = self.workspace.raw / "imagesTs", self.workspace.predicted

        def progress() -> tuple[int, str]:
            return len(visible(output, "*.nii.gz")), ""

        # Without mirroring, so that the masks are exactly those that the heatmaps in the report explain; and in one
        # process, since starting more takes longer than eight small cases do.
        command = (
            f"nnUNetv2_predict -i {shlex.quote(str(images))} -o {shlex.quote(str(output))} -d {DATASET_ID} "
            f"-c {CONFIGURATION} -f {FOLD} -tr {TRAINER} -device {self.device} --disable_tta -npp 0 -nps 0"
        )
        self.nnunet("Predict", command, "predict", len(dataset.testing), progress)

    def nnunet(self, title: str, command: str, name: str, total: int, progress: Callable[[], tuple[int, str]]) -> None:
        """Show a command, run it, and note how long it took."""
        tqdm.write(f"$ {command}")
        seconds = run_command(
            shlex.split(command),
            environment=self.environment,
            log=self.workspace.log(name),
            title=name,
            total=total,
            progress=progress,
        )
        self.steps.append(Step(title, seconds, command))

    def collect(self, dataset: PhantomDataset, seed: int) -> list[CaseRecord]:
        from nnunetv2_textguided.demo.collect import collect_cases  # torch and nnU-Net

        return collect_cases(self.workspace, dataset.testing, seed)

    def trained_block(self) -> dict:
        """The complete `text_guidance` block that the trainer wrote into the model's plans."""
        plans = read_json(self.workspace.model / "plans.json", error=DataError)
        return plans["configurations"][CONFIGURATION][BLOCK]
