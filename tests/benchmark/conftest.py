"""One fake study for all tests that only read it, and one of their own for those that change it."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from nnunetv2_textguided.benchmark.report import export
from nnunetv2_textguided.benchmark.report.analysis import SCORES
from nnunetv2_textguided.benchmark.report.collect import collect
from nnunetv2_textguided.benchmark.study import Study
from nnunetv2_textguided.commands import benchmark_report as report_command
from nnunetv2_textguided.evaluation.classes import choose_targets
from nnunetv2_textguided.evaluation.options import Scoring
from nnunetv2_textguided.evaluation.scoring import score_all
from tests.benchmark.study_builder import CONFIGURATION, DATASET, METHOD, NO_TEXT, RANDOM, STOCK, FakeStudy, Quality

Report = Callable[..., Path]


@pytest.fixture(scope="session")
def shared_study(tmp_path_factory: pytest.TempPathFactory) -> FakeStudy:
    """Four trainers of falling quality, 18 cases, 3 folds. Not to be changed."""
    study = FakeStudy(tmp_path_factory.mktemp("study"), cases=18, folds=3)
    study.validate(STOCK, Quality(shift=2.2, missed=0.2, alarms=0.6, seed=1))
    study.validate(NO_TEXT, Quality(shift=1.3, missed=0.1, alarms=0.4, seed=2))
    study.validate(METHOD, Quality(shift=0.5, missed=0.1, alarms=0.4, seed=2))
    study.validate(RANDOM, Quality(shift=1.2, missed=0.1, alarms=0.4, seed=2))
    return study


@pytest.fixture
def study(shared_study: FakeStudy, tmp_path: Path) -> FakeStudy:
    """A copy of the shared study, to be changed."""
    shutil.copytree(shared_study.root, tmp_path / "study")
    copy = object.__new__(FakeStudy)
    copy.__dict__ |= {**vars(shared_study), "root": tmp_path / "study"}
    return copy


@pytest.fixture
def tables(report: Report, monkeypatch: pytest.MonkeyPatch) -> Report:
    """As `report`, but only the numbers: drawing takes most of the time."""
    monkeypatch.setattr(export, "write_report", export.write_tables)
    return report


@pytest.fixture(scope="session")
def shared_scores(shared_study: FakeStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shared study's scores. Copies of the study keep the times of its files, so that theirs are these, too."""
    folder = tmp_path_factory.mktemp("scores")
    names = (STOCK, NO_TEXT, METHOD, RANDOM)
    study = Study(DATASET, CONFIGURATION, names, folds=tuple(range(shared_study.folds)))
    collected = collect(study, shared_study.folders)
    targets = choose_targets(collected.dataset_json["labels"], None, "dataset.json")
    score_all(collected.score_jobs(targets, Scoring()), workers=1, cache_folder=folder)
    return folder


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shared_scores: Path) -> Report:
    """Makes a report with the command's own arguments; returns its folder."""

    def make(study: FakeStudy, *arguments: str) -> Path:
        for name in ("raw", "preprocessed", "results"):
            monkeypatch.setenv(f"nnUNet_{name}", str(study.root / name))
        parser = argparse.ArgumentParser()
        report_command.add_arguments(parser)
        folds = [str(fold) for fold in range(study.folds)]
        output = tmp_path / "report"
        if not output.exists():
            shutil.copytree(shared_scores, output / SCORES)
        standard = ["-d", "910", "-c", CONFIGURATION, "-o", str(output), "--jobs", "1", "--resamples", "200"]
        chosen = [] if "--folds" in arguments else ["--folds", *folds]
        assert report_command.run(parser.parse_args([*standard, *chosen, *arguments])) == 0
        return output

    return make
