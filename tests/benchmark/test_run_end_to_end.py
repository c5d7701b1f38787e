"""`benchmark run` with nnU-Net's own commands: killed in the middle of a training, resumed, nothing done twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nnunetv2_textguided.benchmark.cells import Step, next_step
from nnunetv2_textguided.benchmark.lock import NAME as LOCK
from nnunetv2_textguided.benchmark.lock import try_lock
from nnunetv2_textguided.benchmark.progress import ProgressReader
from nnunetv2_textguided.benchmark.record import NAME
from nnunetv2_textguided.benchmark.study import Study
from nnunetv2_textguided.cli import main
from nnunetv2_textguided.demo.shapes import Grid
from tests.benchmark.phantom_study import DATASET, PhantomStudy
from tests.benchmark.processes import wait_for

TINY = Grid((12, 36, 36), (3.0, 1.6, 1.6))
TRAINING = {"epochs": 4, "iterations_per_epoch": 2, "val_iterations_per_epoch": 1, "save_every": 1}
TRAINERS = ("nnUNetTrainerAlignRefine_NoText", "nnUNetTrainerAlignRefine")


def in_hands(folder: Path) -> bool:
    """Whether somebody works on a fold."""
    if not folder.is_dir():
        return False
    lock = try_lock(folder / LOCK)
    if lock is not None:
        os.close(lock)
    return lock is None


class Benchmark:
    """One study in a folder of its own, run by the command line in a process group of its own."""

    def __init__(self, phantom: PhantomStudy, trainers: tuple[str, ...], folds: tuple[int, ...], jobs: int) -> None:
        self.phantom = phantom
        self.study = Study(DATASET, phantom.configuration, trainers, folds=folds)
        words = ["benchmark", "run", "-d", "901", "-c", phantom.configuration, "--device", "cpu", "--jobs", str(jobs)]
        self.words = [*words, "--trainers", *trainers, "--folds", *map(str, folds)]
        self.folders = {c: c.folder(phantom.folder("results"), DATASET) for c in self.study.cells()}
        splits = json.loads((phantom.folder("preprocessed") / DATASET / "splits_final.json").read_text())
        self.cases = {fold: splits[fold]["val"] for fold in folds}
        self.log = phantom.root / "benchmark.log"

    def start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "nnunetv2_textguided.cli", *self.words],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.phantom.environment,
                start_new_session=True,
            )

    def steps(self) -> dict[Path, Step]:
        return {folder: next_step(folder, self.cases[cell.fold]) for cell, folder in self.folders.items()}

    def in_the_middle(self) -> bool:
        """Something is done, and something is being trained that was trained for some epochs already."""
        steps = self.steps()
        trained = [f for f, step in steps.items() if step is Step.CONTINUE and ProgressReader().read(f).epochs >= 1]
        return Step.NOTHING in steps.values() and any(map(in_hands, trained))

    def finished(self) -> dict[Path, dict[str, tuple[int, int]]]:
        """Size and time of every file of the folds that are done."""
        return {
            folder: {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}
            for folder, step in self.steps().items()
            if step is Step.NOTHING
        }

    def record(self, folder: Path) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((folder / NAME).read_text())
        return content

    def killed_and_resumed(self) -> None:
        """The whole story, with what has to hold in it."""
        process = self.start()
        wait_for(lambda: self.in_the_middle() or process.poll() is not None, seconds=3600)
        assert process.poll() is None, self.log.read_text()[-4000:]
        self.phantom.kill(process)
        # The trainings are in groups of their own, and end with their workers all the same.
        wait_for(lambda: not any(map(in_hands, self.folders.values())))
        before, steps = self.finished(), self.steps()
        assert before
        assert Step.CONTINUE in steps.values()
        assert self.start().wait(timeout=6 * 3600) == 0, self.log.read_text()[-4000:]
        assert set(self.steps().values()) == {Step.NOTHING}
        after = self.finished()
        for folder, files in before.items():
            assert after[folder] == files, "what was done is left alone"
        for folder, step in steps.items():
            if step is Step.CONTINUE:
                self.was_continued(folder)

    def was_continued(self, folder: Path) -> None:
        attempts = self.record(folder)["attempts"]
        assert attempts[0]["outcome"] == "worker lost"
        assert attempts[-1]["outcome"] == "finished"
        assert attempts[-1]["command"].endswith("--npz --c")
        assert attempts[-1]["from_epoch"] >= 1
        assert "Using splits from existing split file" in "".join(p.read_text() for p in folder.glob("training_log*"))


@pytest.fixture(scope="module")
def monkeypatch_module() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory, monkeypatch_module: pytest.MonkeyPatch) -> PhantomStudy:
    pytest.importorskip("snakemake")
    pytest.importorskip("rich")
    study = PhantomStudy(tmp_path_factory.mktemp("benchmark"))
    study.prepare(monkeypatch_module, cases=5, features=4, block={"training": TRAINING}, grid=TINY)
    return study


@pytest.mark.slow
@pytest.mark.timeout(3600)  # four trainings: two minutes on an idle machine, many more on a busy one
def test_a_benchmark_is_killed_in_the_middle_and_resumed(
    phantom: PhantomStudy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark = Benchmark(phantom, TRAINERS, (0, 1), jobs=1)
    benchmark.killed_and_resumed()
    for cell, folder in benchmark.folders.items():
        probabilities = {path.stem for path in (folder / "validation").glob("*.npz")}
        assert probabilities == set(benchmark.cases[cell.fold])
        record = benchmark.record(folder)
        assert (record["trainer"], record["fold"]) == (cell.variant.trainer, cell.fold)
        assert isinstance(record["seed"], int), "both are this package's, with or without text"
        assert record["epochs_done"] == record["epochs"] == 4
        assert record["wall_seconds"] > 0
        assert record["seconds_per_epoch"] > 0
        assert record["seconds_per_iteration"] == pytest.approx(record["seconds_per_epoch"] / 2, abs=1e-4)
        assert record["peak_resident_bytes"] > 1e8
        assert record["parameters"] > 1000
        assert record["training_flops"] == record["flops_per_patch"] * 3 * record["batch_size"] * 2 * 4
        assert (record["embeddings"] is None) == (cell.variant.trainer == TRAINERS[0])
        software = record["attempts"][0]["software"]
        assert {"nnunetv2-textguided", "nnunetv2", "torch", "python"} <= software.keys()
        assert record["attempts"][0]["hardware"]["cpu"]
    log = benchmark.log.read_text()
    assert "the same for all: plans (nnUNetPlans)" in log
    assert "4 done" in log

    for name, value in phantom.environment.items():
        monkeypatch.setenv(name, value)
    before = benchmark.finished()
    adopted = next(iter(before)) / NAME
    content = json.loads(adopted.read_text())
    adopted.unlink()  # as after a training by nnU-Net's command alone
    assert main(benchmark.words) == 0
    again = json.loads(adopted.read_text())
    assert again["attempts"] == []
    assert again["seconds_per_epoch"] == content["seconds_per_epoch"]
    after = benchmark.finished()
    for files in (before, after):
        del files[adopted.parent][str(adopted)]
    assert after == before
    capsys.readouterr()
    # A validation that is lost is done again, without training.
    folder = next(iter(before))
    (folder / "validation" / "summary.json").unlink()
    checkpoint = (folder / "checkpoint_final.pth").stat().st_mtime_ns
    assert main([*benchmark.words, "--dry-run"]) == 0
    commands = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("#")]
    assert len(commands) == 1
    assert commands[0].endswith("--npz --val")
    assert main(benchmark.words) == 0
    assert next_step(folder, benchmark.cases[0]) is Step.NOTHING
    assert (folder / "checkpoint_final.pth").stat().st_mtime_ns == checkpoint


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.timeout(8 * 3600)
def test_a_complete_five_fold_benchmark_of_four_trainers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half an hour and more: `pytest -m nightly`. With stock nnU-Net; equal iterations for all."""
    study = PhantomStudy(tmp_path)
    length = {"epochs": 5, "iterations_per_epoch": 50, "val_iterations_per_epoch": 10, "save_every": 1}
    grid = Grid((12, 48, 48), (4.0, 1.5, 1.5))
    study.prepare(monkeypatch, cases=20, features=4, block={"training": length}, grid=grid)
    trainers = ("nnUNetTrainer_1epoch", *TRAINERS, "nnUNetTrainerAlignRefine_RandomText")
    benchmark = Benchmark(study, trainers, (0, 1, 2, 3, 4), jobs=os.cpu_count() or 1)
    benchmark.killed_and_resumed()
    for cell, folder in benchmark.folders.items():
        assert len(list((folder / "validation").glob("*.npz"))) == len(benchmark.cases[cell.fold]) == 4
    assert "iterations in total (250)" in benchmark.log.read_text()
