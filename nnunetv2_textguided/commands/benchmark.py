"""`nnUNetv2_textguided benchmark run|report|compare`: cross-validation of several trainers, and its statistics."""

from __future__ import annotations

import argparse

from nnunetv2_textguided.commands import benchmark_compare as compare_command
from nnunetv2_textguided.commands import benchmark_report as report_command
from nnunetv2_textguided.commands.numbers import OptionError, count, number
from nnunetv2_textguided.processes.jobs import EXECUTORS, parse_sbatch


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    actions = parser.add_subparsers(dest="action", metavar="<action>", required=True)
    _add_run(actions.add_parser("run", help="train and validate what is missing, on GPUs of this machine or on SLURM"))
    report_command.add_arguments(actions.add_parser("report", help="compare the trainers: statistics, plots, tables"))
    compare_command.add_arguments(actions.add_parser("compare", help="differences of the models in tables of cases"))


def run(args: argparse.Namespace) -> int:
    """Run the chosen action; returns the exit status."""
    if args.action == "report":
        return report_command.run(args)
    if args.action == "compare":
        return compare_command.run(args)
    return _run(args)


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-d", "--dataset", required=True, help="data set id or name")
    parser.add_argument("-c", "--configuration", default="3d_fullres", help="configuration (default: 3d_fullres)")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--trainers", nargs="+", default=[], metavar="TRAINER", help="the first is the reference")
    which.add_argument("--models", nargs="+", default=[], metavar="TRAINER__PLANS",
                       help="these alone, instead of every trainer under every plans name")  # fmt: skip
    parser.add_argument("--plans", nargs="+", default=["nnUNetPlans"], metavar="PLANS", help="default: nnUNetPlans")
    parser.add_argument("--dry-run", action="store_true", help="print nnU-Net's commands for what is missing, and stop")
    add_trainings(parser)


def add_trainings(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Add the options of how often, on what and where is trained; returns them."""
    before = len(parser._actions)
    parser.add_argument(
        "--folds", nargs="+", type=_fold, default=[0, 1, 2, 3, 4], metavar="FOLD", help="default: 0 to 4"
    )
    parser.add_argument("--repeats", type=count("--repeats"), default=1, metavar="N",
                        help="train every model N times on every fold (default: 1)")  # fmt: skip
    parser.add_argument("--device", choices=("cuda", "cpu", "mps"), default="cuda", help="nnU-Net's (default: cuda)")
    where = parser.add_argument_group("where")
    where.add_argument("--executor", choices=EXECUTORS, default="local", help="this machine (default), or SLURM")
    where.add_argument(
        "--gpus", type=count("--gpus", 0), metavar="N", help="GPUs of this machine to use (default: all visible)"
    )
    where.add_argument("--jobs", type=count("--jobs"), metavar="N",
                       help="trainings at a time (default: one per GPU; 1 without GPU; all on SLURM)")  # fmt: skip
    where.add_argument("--retries", type=count("--retries", 0), default=2, metavar="N",
                       help="how often a training whose worker was lost is tried again (default: 2)")  # fmt: skip
    where.add_argument(
        "--hours", type=number("--hours", float, above=0), default=24.0, help="time limit of a SLURM job (default: 24)"
    )
    where.add_argument("--cpus", type=count("--cpus"), default=12, help="CPUs of a SLURM job (default: 12)")
    where.add_argument("--sbatch", nargs="+", default=[], metavar="KEY=VALUE",
                       help="further sbatch options, such as partition=gpu gres=gpu:a100:1")  # fmt: skip
    return parser._actions[before:]


def _fold(word: str) -> int:
    if word == "all":
        raise OptionError(
            "Fold 'all' trains on every case and has no validation cases, so there is nothing to compare.",
            where="--folds",
            remedy="Train it with `nnUNetv2_train DATASET CONFIGURATION all -tr TRAINER`.",
        )
    return count("--folds", 0)(word)


def _run(args: argparse.Namespace) -> int:
    from nnunetv2_textguided.benchmark.engine import EngineOptions
    from nnunetv2_textguided.benchmark.run import RunOptions, run_benchmark

    engine = EngineOptions(args.executor, 1, args.retries, args.hours, args.cpus, parse_sbatch(args.sbatch))
    options = RunOptions(engine, args.device, args.gpus, args.jobs, args.repeats, args.dry_run)
    study = (args.dataset, args.configuration, args.trainers, args.plans, args.folds)
    return run_benchmark(*study, options, args.models)
