"""`nnUNetv2_textguided benchmark report`: compare the validated folds of several trainers, and say what they show."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nnunetv2_textguided.commands.model import add_price
from nnunetv2_textguided.commands.numbers import count, number
from nnunetv2_textguided.commands.scoring import add_scoring, read_scoring
from nnunetv2_textguided.errors import DataError

if TYPE_CHECKING:
    from nnunetv2_textguided.benchmark.report.analysis import Analysis
    from nnunetv2_textguided.benchmark.report.options import ReportOptions
    from nnunetv2_textguided.benchmark.study import Study
    from nnunetv2_textguided.nnunet.folders import Folders


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this action's arguments."""
    _add_study(parser.add_argument_group("what is compared"))
    _add_scoring(parser.add_argument_group("how each case is scored"))
    _add_statistics(parser.add_argument_group("statistics"))
    folder = "folder for the report (default: benchmark_CONFIGURATION in the data set's results)"
    parser.add_argument("-o", "--output", type=Path, help=folder)
    parser.add_argument(
        "--pictures", type=count("--pictures", 0), default=4, help="worst cases to show; as many losses and gains"
    )
    parser.add_argument("--pdf", action="store_true", help="write the figures as PDF, too, not only as SVG")
    parser.add_argument("--jobs", type=count("--jobs"), help="worker processes (default: one per processor, at most 8)")


def _add_study(group: argparse._ArgumentGroup) -> None:
    group.add_argument("-d", "--dataset", required=True, help="number or name of the data set")
    group.add_argument("-c", "--configuration", default="3d_fullres", help="default: 3d_fullres")
    which = group.add_mutually_exclusive_group()
    which.add_argument("--trainers", nargs="+", help="in this order (default: all with results)")
    which.add_argument("--models", nargs="+", default=[], metavar="TRAINER__PLANS",
                       help="these alone, instead of every trainer under every plans name")  # fmt: skip
    group.add_argument("-p", "--plans", nargs="+", default=["nnUNetPlans"], help="default: nnUNetPlans")
    group.add_argument(
        "--folds", nargs="+", type=count("--folds", 0), default=[0, 1, 2, 3, 4], help="default: 0 1 2 3 4"
    )
    group.add_argument("--baseline", help="trainer that the others are compared with (default: the first)")
    group.add_argument("--equal", choices=("plans", "compute"), default="plans",
                       help="what the variants are meant to share; checked and printed (default: plans)")  # fmt: skip
    group.add_argument("--allow-incomplete", action="store_true", help="compare the cases that all variants have")


def _add_scoring(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--label", help="class to score (default: csPCa, else the only one, else the mean of all)")
    table = "table of patients, centres and grades (default: the data set's cases.csv; none: without)"
    group.add_argument("--cases", type=Path, help=table)
    add_scoring(group)
    group.add_argument("--largest-component", action="store_true", help="post-processing: keep the largest only")
    group.add_argument(
        "--min-voxels", type=count("--min-voxels", 0), default=0, help="post-processing: remove smaller components"
    )


def _add_statistics(group: argparse._ArgumentGroup) -> None:
    metrics = ("dice", "nsd_1mm", "nsd_2mm", "hd95", "precision", "recall")
    group.add_argument("--primary", default="dice", choices=metrics,
                       help="metric of the verdict and the worst cases (default: dice)")  # fmt: skip
    group.add_argument("--resamples", type=count("--resamples"), default=2000, help="bootstrap replicates")
    group.add_argument("--seed", type=count("--seed", 0), default=0, help="of both")
    group.add_argument(
        "--level",
        type=number("--level", float, above=0, below=1, called="coverage"),
        default=0.95,
        help="coverage of intervals (default: 0.95)",
    )
    add_price(group, " where thresholds are fitted")
    edge = number("--volume-edges", float, above=0)
    group.add_argument("--volume-edges", type=edge, nargs="+", default=[], metavar="ML",
                       help="limits between groups of lesion volume in mL (default: terciles)")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Make the report; returns the exit status."""
    from nnunetv2_textguided.benchmark.report.analysis import analyse
    from nnunetv2_textguided.benchmark.report.export import write_report
    from nnunetv2_textguided.extras import require_report
    from nnunetv2_textguided.nnunet.folders import Folders

    require_report()
    options, folders = _options(args), Folders.from_environment()
    study = _study(args, folders)
    output = args.output or folders.results / study.dataset / f"benchmark_{study.configuration}"
    analysis = analyse(study, folders, options, output)
    written = write_report(analysis, output, shlex.join(["nnUNetv2_textguided", *sys.argv[1:]]))
    _print(analysis)
    print(written[-1])
    return 0


def _study(args: argparse.Namespace, folders: Folders) -> Study:
    from nnunetv2_textguided.benchmark.report.collect import found_trainers
    from nnunetv2_textguided.benchmark.study import Study
    from nnunetv2_textguided.nnunet.datasets import dataset_name
    from nnunetv2_textguided.nnunet.variant import read_model, split_repeat

    folds = tuple(sorted(set(args.folds)))
    if args.models:
        models = [read_model(word, args.configuration) for word in args.models]
        return Study.of_models(dataset_name(args.dataset), models, folds)
    dataset, plans = dataset_name(args.dataset), tuple(dict.fromkeys(split_repeat(name)[0] for name in args.plans))
    trainers = tuple(dict.fromkeys(args.trainers or found_trainers(folders, dataset, args.configuration, plans)))
    if not trainers:
        raise DataError(
            f"No trainer has results of the configuration {args.configuration} and the plans {', '.join(plans)}.",
            where=folders.results / dataset,
            remedy="Check -d, -c and -p; train with `nnUNetv2_textguided benchmark run`.",
        )
    return Study(dataset, args.configuration, trainers, plans, folds)


def _options(args: argparse.Namespace) -> ReportOptions:
    from nnunetv2_textguided.benchmark.report.options import ReportOptions
    from nnunetv2_textguided.processes.pool import default_workers

    _check(args.resamples >= 100, "Too few resamples.", "--resamples", "Give at least 100; 2000 is the default.")
    scoring = read_scoring(args, largest_only=args.largest_component, min_voxels=args.min_voxels)
    return ReportOptions(
        scoring=scoring,
        label=args.label,
        baseline=args.baseline,
        primary=args.primary,
        equal=args.equal,
        resamples=args.resamples,
        seed=args.seed,
        level=args.level,
        allow_incomplete=args.allow_incomplete,
        cases=args.cases,
        volume_edges=tuple(args.volume_edges),
        price=args.price,
        pictures=args.pictures,
        pdf=args.pdf,
        jobs=args.jobs or default_workers(),
    )


def _check(valid: bool, what: str, where: str, remedy: str) -> None:
    if not valid:
        raise DataError(what, where=where, remedy=remedy)


def _print(analysis: Analysis) -> None:
    names, primary = analysis.names, analysis.primary
    print(f"scored: {analysis.scored}")
    for check in analysis.checks:
        print(f"{check.status.value}: {check.title}: {check.text}")
    print()
    for variant in analysis.results.variants:
        estimate = analysis.estimates.table[variant][primary.name]
        ends = f"[{primary.text(estimate.interval.low)}, {primary.text(estimate.interval.high)}]"
        print(f"{names[variant]:<30}{primary.title} {primary.text(estimate.value)} {ends}")
    print()
    print(analysis.verdict.sentence, *analysis.verdict.notes, sep="\n")
