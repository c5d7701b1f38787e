"""`nnUNetv2_textguided export-model`: a trained model as a folder for the Hugging Face hub, without pickles."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    parser.add_argument("-m", "--model", type=Path, required=True, help="trained model folder")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write, new or empty")
    parser.add_argument("-f", "--folds", nargs="+", metavar="FOLD", help="default: all that are trained")
    parser.add_argument("-chk", dest="checkpoint", default="checkpoint_final.pth", metavar="FILE",
                        help="checkpoint of each fold (default: %(default)s)")  # fmt: skip
    parser.add_argument("--licence", help="of the weights, such as apache-2.0 (default: the training data's)")
    parser.add_argument("--data-licence", metavar="LICENCE", help="of the training data (default: dataset.json's)")
    parser.add_argument("--card", type=Path, metavar="FILE", help="Markdown to add to the model card (default: none)")


def run(args: argparse.Namespace) -> int:
    """Write the folder; returns the exit status."""
    from nnunetv2_textguided.inference.sharing.export import ExportOptions, export_model

    options = ExportOptions(args.folds, args.checkpoint, args.licence, args.data_licence, args.card)
    for path in export_model(args.model, args.output, options):
        print(path)
    print(f"Read {args.output / 'README.md'} before you publish the folder: hf upload ORGANISATION/NAME {args.output}")
    return 0
