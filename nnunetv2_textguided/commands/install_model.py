"""`nnUNetv2_textguided install-model`: a shared model into nnU-Net's results, every file checked, nothing executed."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    parser.add_argument("model", help="folder or ZIP of export-model, or ORGANISATION/NAME[@REVISION] on the hub")
    parser.add_argument("--results", type=Path, help="folder to install into (default: nnUNet_results)")
    parser.add_argument("--dataset", metavar="NAME", help="data set to install under (default: the model's own)")


def run(args: argparse.Namespace) -> int:
    """Install; returns the exit status."""
    from nnunetv2_textguided.inference.sharing.install import install_model
    from nnunetv2_textguided.nnunet.folders import RESULTS, required_path

    results = args.results or required_path(RESULTS)
    print(install_model(args.model, results, None if args.dataset is None else _dataset(args.dataset)))
    return 0


def _dataset(wanted: str) -> str:
    """The full name of the data set to install under, which need not be there.

    Raises:
        DataError: it is no name that nnU-Net would find, or an id that no data set has.
    """
    from nnunetv2_textguided.nnunet.datasets import dataset_name, is_dataset_name

    return wanted if is_dataset_name(wanted) else dataset_name(wanted, where="--dataset")
