"""The likelihood of a case for a trained model: fitted on its own validation predictions, applied to new patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.evaluation.case_facts import CaseFacts, Input
from nnunetv2_textguided.evaluation.case_likelihood import (
    COMBINATIONS,
    FILE,
    LikelihoodModel,
    case_likelihood,
    fit_likelihood,
    read_likelihood,
    write_likelihood,
)
from nnunetv2_textguided.files import read_json
from nnunetv2_textguided.inference.options import ModelOptions
from nnunetv2_textguided.inference.record import check_fitted_with, fitted_with
from nnunetv2_textguided.inference.validated import score_validation
from nnunetv2_textguided.nnunet.labels import Target
from nnunetv2_textguided.text.case_text import CaseText


def facts_of(score: float | None, text: CaseText) -> CaseFacts:
    """What a likelihood is computed from."""
    clinical = text.clinical
    return CaseFacts(score, clinical.psa_ng_per_ml, clinical.age_years, clinical.prostate_volume_ml, text.pirads)


def read_regressions(model: ModelOptions) -> tuple[LikelihoodModel, ...]:
    """The regressions in the model folder, the richest combination first; none where none were fitted.

    Raises:
        DataError: the file in the model folder is damaged, or the folds were trained again since it was fitted.
    """
    path = model.folder / FILE
    if not path.is_file():
        return ()
    models = read_likelihood(path)
    check_fitted_with(read_json(path, error=DataError), model, path, "likelihood")
    return tuple(models)


def combined_likelihood(
    models: Sequence[LikelihoodModel], score: float, text: CaseText
) -> tuple[float, tuple[Input, ...]] | None:
    """The likelihood of a new patient; None where nothing was fitted.

    Args:
        models: of `read_regressions`.
        score: the image's, the maximum of the detection map.
        text: what is known of the patient.

    Returns:
        The likelihood, in (0, 1), and what it was computed from.
    """
    return case_likelihood(models, facts_of(score, text)) if models else None


def reads(models: Sequence[LikelihoodModel], text: CaseText) -> bool:
    """Whether a likelihood is computed from anything of a text, beside the image's score."""
    combined = combined_likelihood(models, 0.5, text)
    return combined is not None and combined[1] != ("image",)


def fit_for_model(
    model: Path, labels: Path, target: Target, texts: Mapping[str, CaseText], workers: int
) -> list[LikelihoodModel]:
    """Fit every combination of image, clinical facts and PI-RADS that the cases have, and write them into the folder.

    A case counts by the prediction of the fold that did not train on it; patients must not be in several folds.

    Args:
        model: trained model folder, its folds validated with `--npz`.
        labels: reference segmentations, named by case.
        target: the lesion.
        texts: what is known of the cases.
        workers: processes.

    Returns:
        The fitted models, the richest combination first.

    Raises:
        DataError: fewer than two folds have validation probabilities, too few cases have what a combination needs, or
            a checkpoint that was validated is not there.
    """
    fold, by_class = score_validation(model, labels, (target,), workers)
    scores = {case: found[target.name] for case, found in by_class.items()}
    names = sorted(scores)
    facts = [facts_of(scores[name].score, texts.get(name, CaseText())) for name in names]
    positive = [bool(scores[name].lesions) for name in names]
    fitted = []
    for inputs in COMBINATIONS:
        known = [i for i, one in enumerate(facts) if one.has(inputs)]
        if inputs != ("image",) and len(known) < len(names) / 2:
            continue  # what most cases lack would be fitted on a selection of patients
        folds = [fold[names[i]] for i in known]
        fitted.append(fit_likelihood([facts[i] for i in known], [positive[i] for i in known], folds, inputs)[0])
    trained = ModelOptions(model, tuple(sorted(set(fold.values()))))
    write_likelihood(model / FILE, fitted, fitted_with(trained))
    return fitted
