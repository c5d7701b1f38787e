"""Fit what sentences are worth (sentence_prior.py) on the cases that each fold of a model validates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.inference.case_text import CaseTextReader
from nnunetv2_textguided.inference.explaining import unscaled
from nnunetv2_textguided.inference.loading import load_predictor
from nnunetv2_textguided.inference.options import ModelOptions
from nnunetv2_textguided.inference.predictor import folds_with
from nnunetv2_textguided.inference.sentence_prior import Regions, SentencePrior, fit_prior, regions_of
from nnunetv2_textguided.nnunet.labels import Target
from nnunetv2_textguided.nnunet.preprocessed import dataset_class
from nnunetv2_textguided.nnunet.splits import SPLITS, read_splits
from nnunetv2_textguided.text.case_text import CaseText


def trained_folds(folder: Path, checkpoint: str) -> tuple[int, ...]:
    """The numbered folds of a model folder that have a checkpoint: each left cases out."""
    return tuple(sorted(int(name) for name in folds_with(folder, checkpoint) if name.isdigit()))


def fit_for_model(
    model: ModelOptions, preprocessed: Path, target: Target, texts: Mapping[str, CaseText]
) -> SentencePrior:
    """Predict every fold's validation cases, each told its sentences, and fit the prior.

    Args:
        model: the model, whose folds are named.
        preprocessed: its data set, preprocessed.
        target: the lesion.
        texts: what is known of the cases.

    Raises:
        TextGuidedError: no case has sentences that the network reads, cases are missing, or there is too little to fit.
    """
    regions: list[Regions] = []
    folds: list[int] = []
    splits = read_splits(preprocessed / SPLITS)
    for fold in model.folds or ():  # of a model without any, fit_prior says what is missing
        if not isinstance(fold, int) or fold >= len(splits):
            raise DataError(f"No case is left out of fold {fold}.", where=preprocessed / SPLITS, remedy="Check -f.")
        known = {case: texts.get(case, CaseText()) for case in splits[fold]["val"]}
        found = list(_regions_of_fold(replace(model, folds=(fold,)), preprocessed, target, known))
        regions += found
        folds += [fold] * len(found)
    return fit_prior(regions, folds, target.name)


def _regions_of_fold(
    model: ModelOptions, preprocessed: Path, target: Target, texts: Mapping[str, CaseText]
) -> Iterator[Regions]:
    """The regions of each case that a fold validates."""
    predictor = load_predictor(model)
    reader = CaseTextReader(predictor.settings, model)
    accepted = {case: reader.accept(text)[0] for case, text in texts.items()}
    if not any(text.findings for text in accepted.values()):
        raise DataError(
            "No sentence reaches the network."
            if reader.reads_sentences
            else "This model's network does not say where a sentence is.",
            where=f"{len(texts)} validation cases of fold {(model.folds or ('?',))[0]}",
            remedy="Train with grounding.enabled, and name a file of case text with findings.",
        )
    reader.embed(accepted)
    plans, layout = predictor.plans_manager, predictor.layout
    head, manager = layout.head_of(target.name), plans.get_label_manager(predictor.dataset_json)
    folder = preprocessed / str(predictor.configuration_manager.data_identifier)
    dataset = dataset_class(folder)(str(folder), list(texts))
    for case, text in accepted.items():
        try:
            image, label, *_ = dataset.load_case(case)
        except (OSError, RuntimeError) as error:
            raise DataError(f"Case {case} is not preprocessed.", where=folder, remedy="Preprocess it.") from error
        data, reference = torch.from_numpy(np.array(image[:], dtype=np.float32)), np.asarray(label[:])[0]
        told = layout.told(text)
        found = predictor.predict_case(case, data, (), reader.told(text), told)
        chances = manager.apply_inference_nonlin(torch.as_tensor(found[: layout.heads]).float())
        probability = np.where(reference == target.ignored, 0, np.asarray(chances[head]))
        maps = unscaled(found[told.grounded].astype(np.float32))
        yield regions_of(probability, list(maps), text.findings, np.isin(reference, list(target.values)))
