"""`nnUNetv2_textguided threshold`: fit where a model's probabilities are cut, on its own validation."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnunetv2_textguided.commands.model import add_model, add_price, model_folder
from nnunetv2_textguided.commands.numbers import count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments; the model is named as in `predict`."""
    add_model(parser)
    parser.add_argument("-f", dest="folds", nargs="+", type=count("-f", 0), help="folds (default: all validated ones)")
    parser.add_argument("--labels", type=Path, help="reference segmentations (default: the data set's, preprocessed)")
    parser.add_argument("--label", help="label to fit (default: csPCa, else the only one, else each of them)")
    add_price(parser, " in a case without the label")
    parser.add_argument("--jobs", type=count("--jobs"), help="worker processes (default: one per processor, at most 8)")


def run(args: argparse.Namespace) -> int:
    """Fit, write thresholds.json into the model folder, and say what it gives; returns the exit status."""
    from nnunetv2_textguided.errors import DataError
    from nnunetv2_textguided.evaluation.classes import choose_targets
    from nnunetv2_textguided.files import read_json
    from nnunetv2_textguided.inference.options import ModelOptions
    from nnunetv2_textguided.inference.thresholds import FILE, fit_thresholds
    from nnunetv2_textguided.inference.validated import reference_folder
    from nnunetv2_textguided.processes.pool import default_workers

    folder = model_folder(args)
    where = folder / "dataset.json"
    description = read_json(where, error=DataError)
    labels = args.labels or reference_folder(folder)
    targets = choose_targets(description.get("labels", {}), args.label, where)
    model = ModelOptions(folder, None if args.folds is None else tuple(args.folds), args.checkpoint)
    fitted = fit_thresholds(model, labels, targets, args.price, args.jobs or default_workers())
    for name, entry in fitted["labels"].items():
        across = entry["across_folds"]
        print(
            f"{name}: {entry['threshold']:g} ({entry['positives']} of {entry['cases']} cases have it). Fitted on the "
            f"other folds: Dice {across['dice']:.3f}, {across['false_ml']:.2f} mL of false volume in the mean case "
            f"without; at 0.5: {across['dice_at_half']:.3f}, {across['false_ml_at_half']:.2f} mL"
        )
    print(folder / FILE)
    return 0
