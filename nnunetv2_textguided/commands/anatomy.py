"""`nnUNetv2_textguided anatomy`: preprocess the anatomical label maps that supervise the text."""

from __future__ import annotations

import argparse

from nnunetv2_textguided.commands.numbers import count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    parser.add_argument("-d", dest="dataset", required=True, metavar="DATASET", help="data set, by id or name")
    parser.add_argument("-c", dest="configuration", default="3d_fullres", help="configuration (default: %(default)s)")
    parser.add_argument("-p", dest="plans", default="nnUNetPlans", help="plans (default: %(default)s)")
    parser.add_argument(
        "-np", dest="processes", type=count("-np"), default=2, help="worker processes (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Preprocess what is not up to date; returns the exit status."""
    from nnunetv2_textguided.anatomy.preprocessing import preprocess_anatomy
    from nnunetv2_textguided.nnunet.datasets import dataset_name
    from nnunetv2_textguided.nnunet.folders import PREPROCESSED, RAW, required_path

    name = dataset_name(args.dataset, RAW, PREPROCESSED)
    cases, done, folder = preprocess_anatomy(
        required_path(RAW) / name, required_path(PREPROCESSED) / name, args.plans, args.configuration, args.processes
    )
    print(f"Anatomy of {cases} cases, {done} of them preprocessed now -> {folder}")
    return 0
