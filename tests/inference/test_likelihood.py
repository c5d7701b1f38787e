"""The likelihood of a case: fitted on a model's validation, applied to one patient, refused where it cannot be."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from nnunetv2_textguided.cli import main
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.inference.likelihood import combined_likelihood
from nnunetv2_textguided.inference.options import ModelOptions
from nnunetv2_textguided.text.case_text import CaseText, ClinicalFacts
from tests.inference.test_thresholds import trained_on

pytest.importorskip("report_guided_annotation")


def test_a_models_likelihood(validated: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder, labels, text = validated
    command = ["likelihood", "-m", folder, "--labels", labels, "--case-text", text, "--jobs", "1"]
    assert main([str(word) for word in command]) == 0
    printed = capsys.readouterr().out
    assert "image + clinical: AUROC 0.9" in printed
    assert "pirads" not in printed, "no case has a grade: nothing to fit"
    models = json.loads((folder / "case_likelihood.json").read_text())["models"]
    auroc = {tuple(model["inputs"]): model["auroc"] for model in models}
    assert auroc["image", "clinical"] > auroc["image",] + 0.05
    model = ModelOptions(folder, (0, 1))
    high, low = (combined_likelihood(model, 0.3, CaseText((), ClinicalFacts(psa, 65.0, 50.0))) for psa in (25.0, 3.0))
    assert high is not None
    assert low is not None
    assert high[0] > 0.8 > 0.3 > low[0]
    alone = combined_likelihood(model, 0.3, CaseText())
    assert alone is not None
    assert alone[1] == ("image",)
    trained_on(folder / "fold_1" / "checkpoint_final.pth", folder / "fold_1" / "checkpoint_final.pth")
    with pytest.raises(DataError, match="What `likelihood` fitted belongs to other checkpoints"):
        combined_likelihood(model, 0.3, CaseText())
    assert combined_likelihood(replace(model, folds=(0,)), 0.3, CaseText()) == alone


def test_no_regression_no_likelihood(tmp_path: Path) -> None:
    assert combined_likelihood(ModelOptions(tmp_path), 0.5, CaseText()) is None


def test_what_cannot_be_fitted(validated: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder, labels, _ = validated
    command = [str(word) for word in ("likelihood", "-m", folder, "--labels", labels, "--jobs", "1")]
    (labels / "case_03.nii.gz").unlink()
    assert main(command) == 1
    assert "case_03 has no reference" in capsys.readouterr().err
    shutil.rmtree(folder / "fold_1" / "validation")
    assert main(command) == 1
    assert not (folder / "case_likelihood.json").exists()
