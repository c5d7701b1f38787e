"""Parts of a report by themselves: lesion matching, agreement with the evaluation, curves, outlines."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nnunetv2_textguided.benchmark.report.curves import read_curves
from nnunetv2_textguided.benchmark.report.latex import escape
from nnunetv2_textguided.benchmark.report.options import Scoring
from nnunetv2_textguided.benchmark.report.pictures import outline
from nnunetv2_textguided.commands import benchmark_report as report_command
from nnunetv2_textguided.evaluation.cases import read_case_infos
from nnunetv2_textguided.evaluation.detection import score_case
from nnunetv2_textguided.evaluation.evaluate_case import EvaluationOptions
from nnunetv2_textguided.evaluation.lesion_matching import match_lesions
from nnunetv2_textguided.evaluation.postprocess import postprocess
from nnunetv2_textguided.evaluation.predictions import find_predictions
from nnunetv2_textguided.evaluation.score import ScoreJob, as_json, from_json, score_job
from nnunetv2_textguided.evaluation.strata import volume_groups
from nnunetv2_textguided.nnunet.labels import Target
from nnunetv2_textguided.picai.evaluation import plan_evaluation, run_evaluation
from tests.benchmark.study_builder import METHOD, FakeStudy

CSPCA = Target("csPCa", frozenset((1,)), 1)


@pytest.mark.parametrize("seed", range(12))
def test_lesions_are_matched_as_picai_eval_matches_them(seed: int) -> None:
    random = np.random.default_rng(seed)
    reference, detection = np.zeros((4, 36, 36), bool), np.zeros((4, 36, 36), np.float32)
    for cell in random.permutation(9)[: random.integers(1, 6)]:  # apart, as the lesions of a detection map have to be
        y, x = 12 * (cell // 3) + 4, 12 * (cell % 3) + 4
        down, right = random.integers(-3, 4, 2)
        reference[1:3, y : y + 4, x : x + 4] = random.random() < 0.8
        detection[1:3, y + down : y + down + 4, x + right : x + right + 4] = random.integers(0, 5) / 4
    candidates, _ = score_case(detection, reference)
    lesions = match_lesions(reference, detection, detection > 0, 0.001)
    expected = sorted((round(c, 5), round(o, 5)) for lesion, c, o in candidates if lesion)
    assert sorted((round(a.confidence, 5), round(a.iou, 5)) for a in lesions) == expected
    assert sum(lesion.volume_ml for lesion in lesions) == pytest.approx(reference.sum() / 1000)


def test_a_lesions_own_overlap() -> None:
    reference = np.zeros((1, 10, 20), bool)
    reference[0, 2:6, 2:6] = reference[0, 2:6, 12:16] = True
    mask = np.zeros_like(reference)
    mask[0, 2:6, 2:4] = True
    hit, missed = match_lesions(reference, mask.astype(np.float32), mask, 0.5)
    assert (hit.recall, hit.dice, hit.found, hit.volume_ml) == (0.5, 2 * 8 / (16 + 8), True, 8.0)
    assert (missed.recall, missed.dice, missed.found, missed.confidence) == (0, 0, False, 0)


def test_numbers_agree_with_the_challenges_evaluation(shared_study: FakeStudy) -> None:
    folder = shared_study.model(METHOD) / "fold_0" / "validation"
    labels = shared_study.preprocessed / "gt_segmentations"
    jobs, _ = plan_evaluation(folder, labels, CSPCA, EvaluationOptions(replicates=2))
    expected = run_evaluation(jobs, (), {}, workers=1, progress=False)
    files = find_predictions(folder)
    for case, score in expected.cases.items():
        job = ScoreJob(case, labels / f"{case}.nii.gz", {"m": files[case]}, (CSPCA,), None, Scoring())
        found = score_job(job)["m"]["csPCa"]
        assert found.overlap == pytest.approx(score.overlap, nan_ok=True)
        assert found.candidates == score.candidates
        assert found.score == score.score
        assert (found.reference_ml, found.predicted_ml) == pytest.approx((score.reference_ml, score.predicted_ml))
        assert repr(from_json(as_json({"csPCa": found}))["csPCa"]) == repr(found), "the cache keeps every digit"


def test_post_processing() -> None:
    mask = np.zeros((3, 12, 12), bool)
    mask[1, 1:5, 1:5] = True
    mask[1, 8:10, 8:10] = mask[0, 11, 0] = True
    assert postprocess(mask, Scoring()) is mask
    assert postprocess(mask, Scoring(min_voxels=2)).sum() == 20
    assert postprocess(mask, Scoring(largest_only=True)).sum() == 16
    assert postprocess(mask, Scoring(largest_only=True, min_voxels=17)).sum() == 0


def test_volume_groups() -> None:
    volumes = np.array([0.0, 0.1, 0.4, 0.5, 1.5, 9.0])
    groups = volume_groups(volumes, (0.5, 1.0))
    assert [(name, int(chosen.sum())) for name, chosen in groups.items()] == [
        ("up to 0.5 mL", 3), ("over 1 mL", 2)]  # fmt: skip
    terciles = volume_groups(volumes)
    assert sum(int(chosen.sum()) for chosen in terciles.values()) == 5
    assert volume_groups(np.zeros(3)) == {}


def test_grades_of_several_lesions(tmp_path: Path) -> None:
    (tmp_path / "cases.csv").write_text('id,patient_id,case_ISUP,lesion_PIRADS\na,1,3.0,"3,5"\nb,2,,N/A\n')
    infos = read_case_infos(["a", "b"], tmp_path / "cases.csv")
    assert (infos["a"].isup, infos["a"].pirads) == (3, 5)
    assert (infos["b"].isup, infos["b"].pirads) == (None, None)


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
