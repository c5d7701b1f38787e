"""`nnUNetv2_textguided inspect`: what a trained model is, without executing anything in its files."""

from __future__ import annotations

import argparse
import json

from nnunetv2_textguided.inference.inspection.render import render, to_json
from nnunetv2_textguided.inference.inspection.report import inspect_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    parser.add_argument("model", help="model folder, checkpoint (.pth) or exported ZIP")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def run(args: argparse.Namespace) -> int:
    """Print the report; returns the exit status: 1 if a checkpoint was refused."""
    reports = inspect_model(args.model)
    if args.json:
        print(json.dumps([to_json(report) for report in reports], indent=2))
    else:
        print("\n\n".join(render(report) for report in reports))
    return int(any(fold.problem for report in reports for fold in report.folds))
