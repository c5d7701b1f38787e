"""The likelihood of a case: fitted on a model's validation, applied to one patient, refused where it cannot be."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nnunetv2_textguided.cli import main
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.inference.likelihood import combined_likelihood, read_regressions
from nnunetv2_textguided.inference.options import ModelOptions, WorkOptions
from nnunetv2_textguided.inference.run import Summary
from nnunetv2_textguided.text.case_text import CaseText, ClinicalFacts
from tests.inference.test_thresholds import trained_on

pytest.importorskip("report_guided_annotation")


def fit(folder: Path, labels: Path, text: Path) -> None:
    """The command, with which a model folder gets its regressions."""
    command = ["likelihood", "-m", folder, "--labels", labels, "--case-text", text, "--jobs", "1"]
    assert main([str(word) for word in command]) == 0


def test_a_models_likelihood(validated: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder, labels, text = validated
    fit(folder, labels, text)
    printed = capsys.readouterr().out
    assert "image + clinical: AUROC 0.9" in printed
    assert "pirads" not in printed, "no case has a grade: nothing to fit"
    models = json.loads((folder / "case_likelihood.json").read_text())["models"]
    auroc = {tuple(model["inputs"]): model["auroc"] for model in models}
    assert auroc["image", "clinical"] > auroc["image",] + 0.05
    model = ModelOptions(folder, (0, 1))
    high, low = (
        combined_likelihood(read_regressions(model), 0.3, CaseText((), ClinicalFacts(psa, 65.0, 50.0)))
        for psa in (25.0, 3.0)
    )
    assert high is not None
    assert low is not None
    assert high[0] > 0.8 > 0.3 > low[0]
    alone = combined_likelihood(read_regressions(model), 0.3, CaseText())
    assert alone is not None
    assert alone[1] == ("image",)
    trained_on(folder / "fold_1" / "checkpoint_final.pth", folder / "fold_1" / "checkpoint_final.pth")
    with pytest.raises(DataError, match="What `likelihood` fitted belongs to other checkpoints"):
        read_regressions(model)
    assert combined_likelihood(read_regressions(replace(model, folds=(0,))), 0.3, CaseText()) == alone


def test_no_regression_no_likelihood(tmp_path: Path) -> None:
    assert combined_likelihood(read_regressions(ModelOptions(tmp_path)), 0.5, CaseText()) is None


def _cases(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "cases.csv").open(encoding="utf-8", newline="") as stream:
        return {row["case"]: row for row in csv.DictReader(stream)}


def test_facts_of_a_cohort_enter_the_likelihood(
    predict: Callable[..., Summary],
    validated: tuple[Path, Path, Path],
    tmp_path: Path,
) -> None:
    """Of a network that reads no text: its masks stay, cases.csv and the case's JSON have both likelihoods."""
    folder, labels, text = validated
    facts = tmp_path / "facts.json"

    def told(psa: float, *more: str) -> None:
        known = {"psa_ng_per_ml": psa, "age_years": 65.0, "prostate_volume_ml": 50.0}
        facts.write_text(json.dumps({"ball_0": {"clinical": known, "findings": list(more)}}))

    told(25.0)
    options = {"trained": folder, "model_options": {"case_text": facts}, "candidates": "dynamic"}
    with pytest.raises(DataError, match="Nothing of this reaches the network") as error:
        predict(**options)
    assert "nnUNetv2_textguided likelihood" in str(error.value)
    fit(folder, labels, text)
    predict(**options)
    rows = _cases(tmp_path / "out")
    score = float(rows["ball_0"]["case_likelihood"])
    regressions = read_regressions(ModelOptions(folder, (0,)))
    for case, psa, source in (("ball_0", 25.0, "image + clinical"), ("none_1", None, "image")):
        known = CaseText((), ClinicalFacts(psa, 65.0, 50.0)) if psa else CaseText()
        expected = combined_likelihood(regressions, float(rows[case]["case_likelihood"]), known)
        assert expected is not None
        assert float(rows[case]["combined_likelihood"]) == pytest.approx(expected[0], abs=1e-4)
        assert rows[case]["combined_from"] == source
    told(3.0)
    work = WorkOptions(preprocessing=0, export=0, continued=True)
    assert predict(**options, work=work).predicted == ["ball_0"], "another PSA, another likelihood; the other stays"
    again = _cases(tmp_path / "out")
    assert float(again["ball_0"]["case_likelihood"]) == score
    assert float(again["ball_0"]["combined_likelihood"]) < float(rows["ball_0"]["combined_likelihood"])
    assert predict(**options, work=work).predicted == []


def test_a_likelihood_of_other_networks_is_left_out_with_a_warning(
    predict: Callable[..., Summary],
    validated: tuple[Path, Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, labels, text = validated
    fit(folder, labels, text)
    checkpoint = folder / "fold_0" / "checkpoint_final.pth"
    trained_on(checkpoint, checkpoint)
    facts = {"trained": folder, "model_options": {"case_text": tmp_path / "facts.json"}}
    (tmp_path / "facts.json").write_text(json.dumps({"ball_0": {"clinical": {"psa_ng_per_ml": 25.0}}}))
    with pytest.raises(DataError, match="Nothing of this reaches the network"):
        predict(**facts)
    capsys.readouterr()
    predict(trained=folder)
    assert "WARNING: no combined likelihood. What `likelihood` fitted belongs to" in capsys.readouterr().out
    assert {row["combined_likelihood"] for row in _cases(tmp_path / "out").values()} == {""}


def test_what_cannot_be_fitted(validated: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder, labels, _ = validated
    command = [str(word) for word in ("likelihood", "-m", folder, "--labels", labels, "--jobs", "1")]
    (labels / "case_03.nii.gz").unlink()
    assert main(command) == 1
    assert "case_03 has no reference" in capsys.readouterr().err
    shutil.rmtree(folder / "fold_1" / "validation")
    assert main(command) == 1
    assert not (folder / "case_likelihood.json").exists()
