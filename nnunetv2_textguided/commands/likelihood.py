"""`nnUNetv2_textguided likelihood`: how likely a case has the disease, from the image and from what is known."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnunetv2_textguided.commands.numbers import count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    parser.add_argument("-m", "--model", type=Path, required=True, help="trained model folder, validated with --npz")
    parser.add_argument("--labels", type=Path, help="reference segmentations (default: the data set's, preprocessed)")
    parser.add_argument("--case-text", type=Path, help="case_text.json or .csv (default: beside the raw dataset.json)")
    parser.add_argument("--label", default="csPCa", help="the lesion (default: csPCa)")
    parser.add_argument("--jobs", type=count("--jobs"), help="worker processes (default: one per processor, at most 8)")


def run(args: argparse.Namespace) -> int:
    """Fit, write case_likelihood.json into the model folder, and say what each source of knowledge gives."""
    from nnunetv2_textguided.errors import DataError
    from nnunetv2_textguided.evaluation.case_likelihood import FILE
    from nnunetv2_textguided.files import read_json
    from nnunetv2_textguided.inference.likelihood import fit_for_model
    from nnunetv2_textguided.inference.validated import dataset_of, reference_folder
    from nnunetv2_textguided.nnunet.folders import RAW, nnunet_path
    from nnunetv2_textguided.nnunet.labels import target_of
    from nnunetv2_textguided.processes.pool import default_workers
    from nnunetv2_textguided.text.case_text import find_case_text, read_case_text

    description = read_json(args.model / "dataset.json", error=DataError)
    labels = args.labels or reference_folder(args.model)
    raw = nnunet_path(RAW)
    path = args.case_text or (find_case_text(raw / dataset_of(args.model)) if raw is not None else None)
    texts = {} if path is None else read_case_text(path)
    target = target_of(description.get("labels", {}), args.label, args.model / "dataset.json")
    fitted = fit_for_model(args.model, labels, target, texts, args.jobs or default_workers())
    print(f"case text: {path or 'none'}")
    for model in fitted:
        print(
            f"{' + '.join(model.inputs)}: AUROC {model.auroc:.3f}, Brier {model.brier:.3f} "
            f"({model.cases} cases, {model.positives} with {args.label}; cross-fitted over folds)"
        )
    print(args.model / FILE)
    return 0
