"""Which trained model a command is about, and the price of false volume: options that several commands have."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from nnunetv2_textguided.commands.numbers import number
from nnunetv2_textguided.errors import DataError


def add_model(parser: Any) -> None:
    """Add the options that name a model to a parser or a group of it; folds are each command's own."""
    parser.add_argument("-m", "--model", type=Path, help="trained model folder, instead of -d, -c, -tr and -p")
    parser.add_argument("-d", dest="dataset", help="data set id or name")
    parser.add_argument("-c", dest="configuration", default="3d_fullres", help="configuration (default: 3d_fullres)")
    parser.add_argument("-tr", dest="trainer", default="nnUNetTrainerAlignRefine", help="default: %(default)s")
    parser.add_argument("-p", dest="plans", default="nnUNetPlans", help="plans (default: nnUNetPlans)")
    parser.add_argument("-chk", dest="checkpoint", default="checkpoint_final.pth", help="default: checkpoint_final.pth")


def model_folder(args: argparse.Namespace) -> Path:
    """The folder of the model that the options name.

    Raises:
        DataError: they name none.
    """
    if args.model is not None:
        return Path(args.model)
    if args.dataset is None:
        raise DataError("Which model?", where="-d, -m", remedy="Name the data set with -d, or a model folder with -m.")
    from nnunetv2_textguided.nnunet.datasets import dataset_name
    from nnunetv2_textguided.nnunet.folders import RESULTS, model_name, required_path

    results = required_path(RESULTS, "Set it, or name the model's folder with -m.")
    return results / dataset_name(args.dataset) / model_name(args.trainer, args.plans, args.configuration)


def add_price(parser: Any, where: str = "") -> None:
    """Add the price of false volume at which thresholds are fitted; `where` ends the help."""
    from nnunetv2_textguided.evaluation.options import PRICE

    parser.add_argument("--price", type=number("--price", float, least=0), default=PRICE, metavar="DICE",
                        help=f"of each mL of false volume{where} (default: %(default)s)")  # fmt: skip
