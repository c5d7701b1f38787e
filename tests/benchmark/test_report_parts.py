"""Parts of a report by themselves: agreement with the challenge's evaluation, curves, outlines."""

from __future__ import annotations

import argparse
import math
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nnunetv2_textguided.benchmark.report.collect import collect
from nnunetv2_textguided.benchmark.report.curves import read_curves
from nnunetv2_textguided.benchmark.report.figures.forest import draw_forest
from nnunetv2_textguided.benchmark.report.latex import escape
from nnunetv2_textguided.benchmark.report.pictures import outline
from nnunetv2_textguided.benchmark.study import Study
from nnunetv2_textguided.commands import benchmark_report as report_command
from nnunetv2_textguided.evaluation.options import Resampling, Scoring
from nnunetv2_textguided.evaluation.results import build_results
from nnunetv2_textguided.evaluation.score import as_json, from_json, score_case
from nnunetv2_textguided.evaluation.strata import volume_groups
from nnunetv2_textguided.extras import require
from nnunetv2_textguided.nnunet.labels import Target
from nnunetv2_textguided.picai.evaluation import plan_evaluation, run_evaluation
from tests.benchmark.study_builder import CONFIGURATION, DATASET, METHOD, FakeStudy

CSPCA = Target("csPCa", frozenset((1,)), 1)


def test_report_and_picai_evaluate_give_one_table_and_picai_evals_numbers(shared_study: FakeStudy) -> None:
    folder = shared_study.model(METHOD) / "fold_0" / "validation"
    labels = shared_study.preprocessed / "gt_segmentations"
    jobs, _ = plan_evaluation(folder, labels, CSPCA, Scoring())
    evaluation = run_evaluation(jobs, (), Resampling(2), workers=1, progress=False)
    collected = collect(Study(DATASET, CONFIGURATION, (METHOD,), folds=(0,)), shared_study.folders)
    scores = {job.case: score_case(job) for job in collected.score_jobs((CSPCA,), Scoring())}
    infos = {info.case: info for info in evaluation.table.infos}
    (table,) = build_results(collected.models, collected.cases, infos, scores).tables.values()
    assert str(list(table.rows())) == str(list(evaluation.table.rows()))
    extraction = require("report_guided_annotation").extract_lesion_candidates
    direct = require("picai_eval").evaluate(
        y_det=[np.load(folder / f"{case}.npz")["probabilities"][1].astype(np.float32) for case in table.cases],
        y_true=[shared_study.references[case].astype(int) for case in table.cases],
        subject_list=table.cases,
        y_det_postprocess_func=lambda softmax: extraction(softmax, threshold="dynamic")[0],
        num_parallel_calls=1,
    )
    assert evaluation.detection["auroc"].value == pytest.approx(direct.auroc, abs=1e-9)
    assert evaluation.detection["ap"].value == pytest.approx(direct.AP, abs=1e-9)
    assert evaluation.detection["picai_score"].value == pytest.approx(direct.score, abs=1e-9)
    for by_model in scores.values():
        (found,) = by_model.values()
        assert repr(from_json(as_json(found))) == repr(found), "the cache keeps every digit"


def test_volume_groups() -> None:
    volumes = np.array([0.0, 0.1, 0.4, 0.5, 1.5, 9.0])
    groups = volume_groups(volumes, (0.5, 1.0))
    assert [(name, int(chosen.sum())) for name, chosen in groups.items()] == [
        ("up to 0.5 mL", 3), ("over 1 mL", 2)]  # fmt: skip
    terciles = volume_groups(volumes)
    assert sum(int(chosen.sum()) for chosen in terciles.values()) == 5
    assert volume_groups(np.zeros(3)) == {}


def test_curves_follow_a_training_that_was_continued(tmp_path: Path) -> None:
    def log(name: str, epochs: range, dice: float) -> None:
        lines = [f"t: Epoch {e} \nt: train_loss -0.5 \nt: val_loss nan \nt: Pseudo dice [np.float32({dice}), nan] "
                 for e in epochs]  # fmt: skip
        (tmp_path / name).write_text("\n".join(lines) + "\n")

    log("training_log_2026_9_30_1_1_1.txt", range(4), 0.5)
    log("training_log_2026_10_2_1_1_1.txt", range(3, 6), 1.0)
    curves = read_curves([tmp_path])
    assert curves is not None
    assert curves.epochs.tolist() == [1, 2, 3, 4, 5, 6]
    assert curves.values["ema_dice"][0] == pytest.approx([0.5, 0.5, 0.5, 0.55, 0.595, 0.6355])
    assert curves.values["train_loss"][0].tolist() == [-0.5] * 6
    assert read_curves([tmp_path / "nothing"]) is None


def test_outline_is_in_units_of_the_box() -> None:
    mask = np.zeros((8, 8), bool)
    mask[2:6, 2:6] = True
    numbers = np.array([float(n) for n in re.findall(r"-?[\d.]+", outline(mask, (0.0, 0.0, 8.0, 8.0)))])
    assert (numbers.min(), numbers.max()) == (25, 75)
    assert outline(np.zeros((8, 8), bool), (0.0, 0.0, 8.0, 8.0)) == ""


def test_nothing_is_drawn_of_differences_that_are_not_known() -> None:
    unknown = SimpleNamespace(found=SimpleNamespace(value=math.nan))
    of_negatives: Any = SimpleNamespace(comparisons={"dice": [unknown]}, options=SimpleNamespace(primary="dice"))
    assert draw_forest(of_negatives) is None


def test_latex_escapes() -> None:
    assert escape("50_a & 3 % {x}") == r"50\_a \& 3 \% \{x\}"


def test_help_needs_no_heavy_import() -> None:
    code = (
        "import argparse, sys\n"
        "from nnunetv2_textguided.commands import benchmark_report as report_command\n"
        "report_command.add_arguments(argparse.ArgumentParser())\n"
        "print({'numpy', 'torch', 'pandas', 'scipy', 'matplotlib', 'jinja2', 'nnunetv2'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_defaults_are_those_of_the_options() -> None:
    parser = argparse.ArgumentParser()
    report_command.add_arguments(parser)
    from nnunetv2_textguided.benchmark.report.options import ReportOptions

    made = report_command._options(parser.parse_args(["-d", "1", "--jobs", "1"]))
    assert made == ReportOptions()
