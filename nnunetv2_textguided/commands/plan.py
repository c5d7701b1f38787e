"""`nnUNetv2_textguided plan`: patch and batch that fit the GPU with all encoders, head and refiner counted."""

from __future__ import annotations

import argparse

from nnunetv2_textguided.commands.numbers import count, number
from nnunetv2_textguided.errors import PlanningError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    parser.add_argument("-d", dest="dataset", required=True, metavar="DATASET", help="data set, by id or name")
    parser.add_argument(
        "--residual", choices=("M", "L", "XL"), help="nnU-Net's residual encoders instead of plain convolutions"
    )
    parser.add_argument(
        "--gpu-memory",
        type=number("--gpu-memory", float, above=0, below=1e4, called="memory in GB"),
        metavar="GB",
        help="memory target as nnU-Net means it (default 8; L 24, XL 40)",
    )
    parser.add_argument("--preset", help="align_refine (default), paper, smoke, or a JSON file")
    _add_encoders(parser)
    parser.add_argument(
        "--topology-of",
        metavar="PLANS",
        help="keep the network topology of these plans, so that their trained weights can be converted",
    )
    parser.add_argument("--plans-name", metavar="NAME", help="name of the plans instead of nnUNetAlignRefine...Plans")
    parser.add_argument(
        "--target-spacing",
        type=number("--target-spacing", float, above=0),
        nargs=3,
        metavar="MM",
        help="spacing of 3d_fullres instead of nnU-Net's choice",
    )
    parser.add_argument(
        "--reset-settings", action="store_true", help="forget the text_guidance blocks of plans that are replaced"
    )


def _add_encoders(parser: argparse.ArgumentParser) -> None:
    from nnunetv2_textguided.planning.encoders import COST_LIMIT, STYLES

    styles = "; ".join(f"{name}: {meaning}" for name, meaning in STYLES.items())
    parser.add_argument(
        "--constant-cost",
        choices=tuple(STYLES),
        help=f"encoders that make a step cost at most {COST_LIMIT} times the stock network's. {styles}",
    )
    parser.add_argument(
        "--encoder-width",
        type=number("--encoder-width", float, above=0),
        metavar="W",
        help="encoders.width: relative to the plans'",
    )
    parser.add_argument(
        "--shared-from-stage",
        type=count("--shared-from-stage", 0),
        metavar="STAGE",
        help="encoders.shared_from_stage: one trunk from there on",
    )


def run(args: argparse.Namespace) -> int:
    """Plan and print what was decided; returns the exit status."""
    from nnunetv2_textguided.planning.blocks import PlanRequest
    from nnunetv2_textguided.planning.report import report
    from nnunetv2_textguided.planning.run import plan_dataset

    chosen = {"width": args.encoder_width, "shared_from_stage": args.shared_from_stage}
    encoders = {key: value for key, value in chosen.items() if value is not None}
    if encoders and args.constant_cost:
        raise PlanningError(
            "--constant-cost chooses the encoders itself.",
            remedy="Leave out --encoder-width and --shared-from-stage, or --constant-cost.",
        )
    request = PlanRequest(args.preset, encoders, args.constant_cost, args.reset_settings, args.topology_of)
    print(
        report(
            plan_dataset(args.dataset, args.residual, args.gpu_memory, request, args.plans_name, args.target_spacing)
        )
    )
    return 0
