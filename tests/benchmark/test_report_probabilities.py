"""Reports of fake studies: calibration, decision curves, and differences by subgroup."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nnunetv2_textguided.evaluation.difference import Difference
from nnunetv2_textguided.evaluation.trainings import folds_of_means
from tests.benchmark.conftest import Report
from tests.benchmark.study_builder import METHOD, NO_TEXT, SHAPE, FakeStudy, Quality, save, write_json
from tests.benchmark.test_report import content, rows_of

QUALITY = Quality(shift=0.5, missed=0.2, alarms=1.0, seed=2)


@pytest.fixture(scope="module")
def large_study(tmp_path_factory: pytest.TempPathFactory) -> FakeStudy:
    """60 cases with zones, enough to fit likelihoods on."""
    study = FakeStudy(tmp_path_factory.mktemp("large"), cases=60, folds=3)
    study.validate(NO_TEXT, replace(QUALITY, shift=1.5, seed=3))
    study.validate(METHOD, QUALITY)
    study.validate(METHOD, replace(QUALITY, seed=4), plans="nnUNetPlans_repeat2")
    (study.raw / "anatomyTr").mkdir()
    for name, reference in study.references.items():
        mask = np.ones(SHAPE, np.uint8)
        mask[..., 24:] = 2
        mask[reference > 0] = 0
        save(study.raw / "anatomyTr" / f"{name}.nii.gz", mask)
    path = study.raw / "dataset.json"
    anatomy = {"peripheral zone": 1, "transition zone": 2, "urethra": 3}
    write_json(path, {**json.loads(path.read_text()), "anatomy": anatomy})
    return study


def test_probabilities_and_zones(large_study: FakeStudy, report: Report) -> None:
    folder = report(large_study, "--trainers", NO_TEXT, METHOD, "--volume-edges", "0.5", "1.5")
    cases = rows_of(folder, "per_case")
    check_zones(large_study, cases)
    check_differences(cases, rows_of(folder, "subgroups"))
    check_calibration(folder, cases)
    made = content(folder)
    assert made["not_calibrated"] == []
    assert all(len(made[name]) == len(rows_of(folder, name)) for name in ("calibration", "reliability"))
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert '<h2 id="calibration">' in page
    for name in ("calibration", "decision"):
        assert (folder / "figures" / f"{name}.svg").is_file()
    assert "Score as it is" in page
    assert "biopsy for all" in page
    assert "nothing is corrected for their number" in page


def check_zones(study: FakeStudy, cases: list[dict[str, str]]) -> None:
    for row in cases:
        lesion = study.references[row["case"]] > 0
        right = int(lesion[..., 24:].sum()) > lesion.sum() / 2
        expected = ("transition zone" if right else "peripheral zone") if lesion.any() else ""
        assert row["zone"] == expected, row["case"]


def check_differences(cases: list[dict[str, str]], subgroups: list[dict[str, str]]) -> None:
    """A subgroup's difference is the estimator's on its cases."""
    rows = {(r["trainer"], r["by"], r["group"]): r for r in subgroups if r["metric"] == "dice"}
    assert {group for _, by, group in rows if by == "zone"} == {"peripheral zone", "transition zone"}
    assert {group for _, by, group in rows if by == "lesion volume"} <= {
        "up to 0.5 mL", "0.5\N{EN DASH}1.5 mL", "over 1.5 mL"}  # fmt: skip
    chosen = [row for row in cases if row["zone"] == "peripheral zone"]

    def of(trainer: str, repeat: str) -> list[dict[str, str]]:
        return [row for row in chosen if (row["trainer"], row["repeat"]) == (trainer, repeat)]

    ours = np.array([[float(row["dice"]) for row in of(METHOD, repeat)] for repeat in "12"])
    theirs, first = np.array([[float(row["dice"]) for row in of(NO_TEXT, "1")]]), of(METHOD, "1")
    folds = np.array([int(row["fold"]) for row in first])
    found = Difference(tuple(folds_of_means(ours, theirs, folds, [row["patient"] for row in first])))
    row = rows[METHOD, "zone", "peripheral zone"]
    assert float(row["difference"]) == pytest.approx(found.value)
    assert (float(row["difference_low"]), float(row["difference_high"])) == pytest.approx(tuple(found.ends))
    assert rows[NO_TEXT, "zone", "peripheral zone"]["difference"] == ""


def check_calibration(folder: Path, cases: list[dict[str, str]]) -> None:
    rows = {(r["trainer"], r["of"], r["quantity"]): r for r in rows_of(folder, "calibration")}
    own = [row for row in cases if row["trainer"] == METHOD]
    squares = [(float(row["score"]) - (int(row["lesions"]) > 0)) ** 2 for row in own]
    assert float(rows[METHOD, "score", "brier"]["value"]) == pytest.approx(np.mean(squares))
    difference = float(rows[METHOD, "score", "brier"]["value"]) - float(rows[NO_TEXT, "score", "brier"]["value"])
    assert float(rows[METHOD, "score", "brier"]["difference"]) == pytest.approx(difference)
    assert abs(float(rows[METHOD, "likelihood", "excess"]["value"])) < 0.05
    for name in ("brier", "skill", "slope", "intercept"):
        row = rows[METHOD, "likelihood", name]
        assert float(row["low"]) < float(row["value"]) < float(row["high"])
    curve = [row for row in rows_of(folder, "decision_curve") if row["trainer"] == METHOD]
    assert [float(row["threshold"]) for row in curve] == pytest.approx(np.arange(0.05, 0.405, 0.01))
    share = 2 / 3
    for row in curve:
        t = float(row["threshold"])
        assert float(row["biopsy_for_all"]) == pytest.approx(share - (1 - share) * t / (1 - t))
        assert float(row["low"]) <= float(row["net_benefit"]) <= float(row["high"])
        assert float(row["net_benefit"]) <= share
    bins = [row for row in rows_of(folder, "reliability") if (row["trainer"], row["of"]) == (METHOD, "score")]
    assert sum(float(row["cases"]) for row in bins) == pytest.approx(60)


def test_what_is_not_known_is_said(large_study: FakeStudy, report: Report) -> None:
    folder = report(large_study, "--trainers", METHOD, "--folds", "0", "--pictures", "0")
    (reason,) = content(folder)["not_calibrated"]
    assert reason.startswith("likelihood of AlignRefine: 0 cases with and 0 without the disease are too few")
    assert {row["of"] for row in rows_of(folder, "calibration")} == {"score"}
    assert not (folder / "figures" / "decision.svg").exists()
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert reason in page
    assert "not known" in page


@pytest.mark.parametrize(("kept", "reason"), [(0, "no case has a lesion."), (1, "all cases have a lesion.")])
def test_one_kind_of_case_alone_is_not_calibrated(study: FakeStudy, tables: Report, kept: int, reason: str) -> None:
    path = study.preprocessed / "splits_final.json"
    splits = json.loads(path.read_text())
    for split in splits:
        split["val"] = [case for case in split["val"] if bool(study.references[case].any()) == bool(kept)]
    write_json(path, splits)
    folder = tables(study, "--trainers", NO_TEXT, METHOD)
    assert content(folder)["not_calibrated"] == [reason]
    assert content(folder)["calibration"] == content(folder)["decision_curve"] == []


def test_masks_alone_are_no_probabilities(study: FakeStudy, tables: Report) -> None:
    for path in study.model(NO_TEXT).glob("fold_*/validation/*.npz"):
        path.unlink()
    reasons = content(tables(study, "--trainers", NO_TEXT, METHOD))["not_calibrated"]
    assert reasons[0] == "NoText: no probabilities (--npz) of 18 cases."
    assert reasons[1].startswith("likelihood of AlignRefine: ")
