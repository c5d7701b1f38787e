"""The likelihood of a case: identities, cross-fitting, what is not known, and the file."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.evaluation.case_facts import CaseFacts
from nnunetv2_textguided.evaluation.case_likelihood import (
    case_likelihood,
    fit_likelihood,
    read_likelihood,
    write_likelihood,
)
from nnunetv2_textguided.picai.case_text import from_marksheet
from nnunetv2_textguided.picai.marksheet import read_marksheet

MARKSHEET = Path(__file__).resolve().parents[3] / "shared" / "data" / "picai_index" / "marksheet.csv"


def cohort(count: int = 400, seed: int = 0) -> tuple[list[CaseFacts], np.ndarray, np.ndarray]:
    """Patients whose disease shows in the image and, independently, in PSA."""
    random = np.random.default_rng(seed)
    positive = random.random(count) < 0.4
    score = 1 / (1 + np.exp(-(random.normal(size=count) + 2 * positive - 1)))
    psa = np.exp(random.normal(size=count) * 0.5 + 2 + positive)
    facts = [
        CaseFacts(float(s), None if random.random() < 0.2 else float(p), 60 + 10 * random.random(), 50.0)
        for s, p in zip(score, psa, strict=True)
    ]
    return facts, positive, np.arange(count) % 5


def test_facts_add_what_the_image_does_not_show() -> None:
    facts, positive, fold = cohort()
    image, _ = fit_likelihood(facts, positive, fold, ("image",))
    both, crossed = fit_likelihood(facts, positive, fold, ("image", "clinical"))
    assert both.auroc > image.auroc + 0.02
    assert both.brier < image.brier
    assert abs(crossed.mean() - positive.mean()) < 0.03
    assert (both.cases, both.positives) == (400, positive.sum())


def test_noise_adds_nothing_because_it_is_cross_fitted() -> None:
    facts, positive, fold = cohort(120)
    random = np.random.default_rng(1)
    noise = [
        replace(one, psa_ng_per_ml=float(p), age_years=float(a), prostate_volume_ml=float(v))
        for one, p, a, v in zip(facts, *np.exp(random.normal(size=(3, 120)) * 0.2 + 3.5), strict=True)
    ]
    image, _ = fit_likelihood(noise, positive, fold, ("image",))
    both, _ = fit_likelihood(noise, positive, fold, ("image", "clinical"))
    assert both.auroc < image.auroc + 0.01


def test_the_likelihood_can_be_computed_by_hand() -> None:
    facts, positive, fold = cohort()
    model, _ = fit_likelihood(facts, positive, fold, ("image",))
    (mean,), (scale,), (coefficient,) = model.mean, model.scale, model.coefficients
    logit = model.intercept + coefficient * (math.log(0.3 / 0.7) - mean) / scale
    assert model.likelihood(CaseFacts(score=0.3)) == pytest.approx(1 / (1 + math.exp(-logit)))
    assert 0 < model.likelihood(CaseFacts(score=0.0)) < model.likelihood(CaseFacts(score=1.0)) < 1


def test_what_is_not_known_counts_as_the_mean() -> None:
    facts, positive, fold = cohort()
    model, _ = fit_likelihood(facts, positive, fold, ("image", "clinical"))
    age = model.mean[model.features.index("age")]
    known = CaseFacts(0.4, 8.0, age, 50.0)
    assert model.likelihood(replace(known, age_years=None)) == pytest.approx(model.likelihood(known))


def test_the_richest_model_whose_inputs_are_known_answers() -> None:
    facts, positive, fold = cohort()
    graded = [replace(one, pirads=4 if sick else 2) for one, sick in zip(facts, positive ^ (fold == 0), strict=True)]
    models = [
        fit_likelihood(graded, positive, fold, inputs)[0]
        for inputs in (("image", "clinical", "pirads"), ("image", "clinical"), ("image",))
    ]
    assert case_likelihood(models, CaseFacts(score=0.5))[1] == ("image",)
    assert case_likelihood(models, CaseFacts(score=0.5, age_years=60))[1] == ("image", "clinical")
    assert case_likelihood(models, CaseFacts(score=0.5, age_years=60, pirads=3))[1] == ("image", "clinical", "pirads")
    assert case_likelihood(models, CaseFacts(score=0.5, pirads=3))[1] == ("image",)
    assert case_likelihood(models, CaseFacts(pirads=3)) is None


def test_the_file(tmp_path: Path) -> None:
    facts, positive, fold = cohort()
    models = [fit_likelihood(facts, positive, fold, inputs)[0] for inputs in (("image",), ("image", "clinical"))]
    write_likelihood(tmp_path / "likelihood.json", models)
    assert read_likelihood(tmp_path / "likelihood.json") == models[::-1]
    content = json.loads((tmp_path / "likelihood.json").read_text())
    content["models"][0]["features"] = ["eval"]
    (tmp_path / "likelihood.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="likelihoods"):
        read_likelihood(tmp_path / "likelihood.json")


def test_too_few_cases() -> None:
    facts, _, fold = cohort(30)
    with pytest.raises(DataError, match="too few"):
        fit_likelihood(facts, np.arange(30) < 9, fold, ("image",))


@pytest.mark.skipif(not MARKSHEET.is_file(), reason="the archive's marksheet is not here")
def test_the_archives_marksheet_gives_the_known_levels() -> None:
    """Facts and grades alone, without any image, on all 1500 studies, cross-fitted in the official folds."""
    pytest.importorskip("picai_baseline")
    from nnunetv2_textguided.picai.folds import official_folds, validation_fold

    rows = read_marksheet(MARKSHEET)
    folds = validation_fold(official_folds("1500"))
    facts = []
    for row in rows.values():
        text, remarks = from_marksheet(row, ("clinical", "pirads"))
        assert not remarks
        clinical = text.clinical
        facts.append(
            CaseFacts(None, clinical.psa_ng_per_ml, clinical.age_years, clinical.prostate_volume_ml, text.pirads)
        )
    positive, fold = [row.cspca for row in rows.values()], [folds[case] for case in rows]
    clinical_model, _ = fit_likelihood(facts, positive, fold, ("clinical",))
    both, _ = fit_likelihood(facts, positive, fold, ("clinical", "pirads"))
    assert clinical_model.auroc == pytest.approx(0.752, abs=0.004)
    assert both.auroc == pytest.approx(0.879, abs=0.004)
    from sklearn.metrics import roc_auc_score

    assert roc_auc_score(positive, [one.pirads or 0 for one in facts]) == pytest.approx(0.861, abs=0.001)
