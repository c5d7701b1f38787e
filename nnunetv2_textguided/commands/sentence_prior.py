"""`nnUNetv2_textguided sentence-prior`: fit what a radiologist's sentence is worth beside the image."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnunetv2_textguided.commands.model import add_model, model_folder
from nnunetv2_textguided.commands.numbers import count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments; the model is named as in `predict`."""
    add_model(parser)
    parser.add_argument("-f", dest="folds", nargs="+", type=count("-f", 0), help="folds (default: all that are there)")
    parser.add_argument("--case-text", type=Path, help="case_text.json or .csv (default: beside the raw dataset.json)")
    parser.add_argument("--label", default="csPCa", help="the lesion (default: csPCa)")
    parser.add_argument("--encoder", help="text encoder of sentences without embedding (default: the model's)")
    parser.add_argument("-device", choices=["cuda", "cpu", "mps"], default="cuda", help="default: cuda")


def run(args: argparse.Namespace) -> int:
    """Fit, write sentence_prior.json into the model folder where it pays, and say what it gives."""
    from nnunetv2_textguided.errors import DataError
    from nnunetv2_textguided.files import read_json
    from nnunetv2_textguided.inference.options import ModelOptions
    from nnunetv2_textguided.inference.sentence_prior import write_prior
    from nnunetv2_textguided.inference.sentence_prior_fit import fit_for_model, trained_folds
    from nnunetv2_textguided.inference.validated import dataset_of
    from nnunetv2_textguided.nnunet.folders import PREPROCESSED, RAW, nnunet_path, required_path
    from nnunetv2_textguided.nnunet.labels import target_of
    from nnunetv2_textguided.text.case_text import find_case_text, read_case_text

    folder = model_folder(args)
    folds = tuple(args.folds) if args.folds else trained_folds(folder, args.checkpoint)
    model = ModelOptions(folder, folds, args.checkpoint, args.device, encoder=args.encoder)
    raw, name = nnunet_path(RAW), dataset_of(folder)
    path = args.case_text or (find_case_text(raw / name) if raw is not None else None)
    if path is None:
        raise DataError("There is no case text.", where=f"data set {name}", remedy="Name the file with --case-text.")
    description = read_json(folder / "dataset.json", error=DataError)
    target = target_of(description.get("labels", {}), args.label, folder / "dataset.json")
    preprocessed = required_path(PREPROCESSED) / name
    prior = fit_for_model(model, preprocessed, target, read_case_text(path))
    print(
        f"average precision of {prior.regions} regions, {prior.lesions} of them {prior.label} (cross-fitted over "
        f"folds): {prior.with_sentences:.3f} with sentences, {prior.without_sentences:.3f} by the image alone"
    )
    each = ", ".join(f"{grade} {shift:+.1f}" for grade, shift in prior.described().items())
    print(f"added to the logits of a region that lies where a sentence is: {each}")
    if prior.with_sentences <= prior.without_sentences:
        print("Nothing is written: sentences tell no more than the image does.")
        return 0
    print(write_prior(prior, model))
    return 0
