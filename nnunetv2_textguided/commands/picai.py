"""`nnUNetv2_textguided picai prepare|check|evaluate|benchmark`: the PI-CAI archive as an nnU-Net data set, and back."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunetv2_textguided.commands import picai_benchmark
from nnunetv2_textguided.commands.numbers import count, number
from nnunetv2_textguided.commands.scoring import add_scoring, read_scoring
from nnunetv2_textguided.errors import DataError

if TYPE_CHECKING:
    from nnunetv2_textguided.picai.options import PrepareOptions
    from nnunetv2_textguided.picai.plan import Plan
    from nnunetv2_textguided.text.case_text import CaseText


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    actions = parser.add_subparsers(dest="action", metavar="<action>", required=True)
    _add_prepare(actions.add_parser("prepare", help="write DatasetNNN_PICAI into nnUNet_raw"))
    _add_check(actions.add_parser("check", help="find what is wrong with a data set before anything is trained"))
    _add_evaluate(actions.add_parser("evaluate", help="score predictions as the challenge does, and by overlap"))
    benchmark = "from the archive to the five-fold table with all controls; what is done is not done again"
    picai_benchmark.add_arguments(actions.add_parser("benchmark", help=benchmark))


def run(args: argparse.Namespace) -> int:
    """Run the chosen action; returns the exit status."""
    actions = {"prepare": _prepare, "check": _check, "evaluate": _evaluate, "benchmark": picai_benchmark.run}
    return actions[args.action](args)


def _add_prepare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=Path, required=True, help="the archive's folder of patient folders")
    parser.add_argument("--labels", type=Path, required=True, help="checkout of github.com/DIAGNijmegen/picai_labels")
    parser.add_argument(
        "-d",
        "--dataset",
        type=number("-d", int, least=1, most=999999),
        required=True,
        help="number of the data set, for example 2203",
    )
    parser.add_argument("--name", default="PICAI", help="name of the data set (default: PICAI)")
    parser.add_argument("--raw", type=Path, help="folder to write into (default: nnUNet_raw)")
    parser.add_argument("--folds", choices=("1500", "1295"), default="1500", help="official folds (default: 1500)")
    parser.add_argument("--classes", choices=("lesion", "zones", "anatomy"), default="lesion",
                        help="what the label map holds; anatomy: the lesion, and the zones in anatomyTr")  # fmt: skip
    parser.add_argument("--zone-source", choices=("HeviAI23", "Yuan23", "auto"), default="HeviAI23",
                        help="whose zone masks; auto: per case the one that agrees better with the gland")  # fmt: skip
    parser.add_argument("--ai-labels", action="store_true", help="AI lesion masks where there is no human one")
    parser.add_argument("--contradictions", choices=("exclude", "mask", "marksheet"), default="exclude",
                        help="rule where marksheet and mask contradict each other (default: exclude)")  # fmt: skip
    _add_preparation(parser)
    parser.add_argument("--masks", metavar="N|FILE", help="only N cases (drawn by --seed, as many of them csPCa as in "
                        "all) or those that FILE lists keep their masks; the others are left out")  # fmt: skip
    parser.add_argument("--text-cases", action="store_true",
                        help="cases without a mask are kept as text-only: label map all ignored, lesions counted in "
                        "case_text.json")  # fmt: skip
    parser.add_argument("--seed", type=count("--seed", 0), default=0, help="of the cases that --masks N draws")
    parser.add_argument("--case-text", nargs="+", choices=("clinical", "pirads", "findings", "none"), default=["none"],
                        help="write case_text.json (default: none)")  # fmt: skip
    parser.add_argument("--prostatex-findings", type=Path, metavar="FILE",
                        help="ProstateX's table of findings, for --case-text findings and --text-cases")  # fmt: skip
    parser.add_argument("--jobs", type=count("--jobs"), help="worker processes (default: one per processor, at most 8)")
    parser.add_argument("--overwrite", action="store_true", help="prepare every case again")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and stop")


def _add_preparation(parser: argparse.ArgumentParser) -> None:
    """Options of what is made of the images."""
    parser.add_argument("--adc", choices=("global", "zscore"), default="global",
                        help="ADC normalisation: statistics of the whole data set, or of each image")  # fmt: skip
    parser.add_argument("--geometry", choices=("nnunet-baseline", "unet-baseline"), default="nnunet-baseline",
                        help="the T2W series' own grid, or 3.0 0.5 0.5 mm and 20 256 256 voxels")  # fmt: skip
    parser.add_argument(
        "--spacing", type=number("--spacing", float, above=0), nargs=3, metavar=("Z", "Y", "X"), help="spacing in mm"
    )
    parser.add_argument(
        "--matrix-size", type=count("--matrix-size"), nargs=3, metavar=("Z", "Y", "X"), help="crop or pad to this size"
    )
    parser.add_argument("--crop-centre", choices=("image", "gland"), default="image", help="what the crop is about")


def _prepare(args: argparse.Namespace) -> int:
    from nnunetv2_textguided.picai.masks import limit_masks
    from nnunetv2_textguided.picai.plan import make_plan
    from nnunetv2_textguided.picai.preparation import dataset_folder, prepare_dataset
    from nnunetv2_textguided.picai.report_targets import write_texts
    from nnunetv2_textguided.processes.pool import default_workers

    options = _options(args)
    _check_case_text(args)
    dataset = dataset_folder(args.raw or _nnunet_raw(), args.dataset, args.name)
    plan = make_plan(args.images, args.labels, dataset, options)
    plan, options = limit_masks(plan, options, args.masks, args.seed)
    print(plan.describe())
    if args.dry_run:
        for case, reason in plan.skipped.items():
            print(f"skipped {case}: {reason}")
        for case, error in plan.failed.items():
            print(f"FAILED {case}: {error}", file=sys.stderr)
        return 1 if plan.failed else 0
    texts = _case_text(args, plan, dataset)  # before anything is written: it may be refused
    summary = prepare_dataset(plan, dataset, options, workers=args.jobs or default_workers(), overwrite=args.overwrite)
    for line in summary.lines():
        print(line, file=sys.stderr if line.startswith("FAILED") else sys.stdout)
    for line in write_texts(texts, dataset, args.overwrite):
        print(line)
    print(dataset)
    return 0 if summary.succeeded else 1


def _check_case_text(args: argparse.Namespace) -> None:
    if "none" in args.case_text and len(args.case_text) > 1:
        raise DataError("'none' excludes other kinds of case text.", where="--case-text")
    wanted, given = "findings" in args.case_text, args.prostatex_findings is not None
    if wanted != given and not (given and args.text_cases):
        raise DataError(
            "--case-text findings (or --text-cases) and --prostatex-findings FILE belong together.",
            where="--case-text",
            remedy="The table is ProstateX-Findings-Train.csv of the ProstateX collection.",
        )


def _case_text(args: argparse.Namespace, plan: Plan, dataset: Path) -> dict[str, CaseText] | None:
    """The text and the targets that are asked for; None where none are."""
    from nnunetv2_textguided.picai.report_targets import texts_and_targets

    kinds = [kind for kind in args.case_text if kind != "none"]
    if not kinds and not args.text_cases:
        return None
    texts, remarks = texts_and_targets(plan, dataset, args.labels, kinds, args.prostatex_findings)
    for remark in remarks:
        print(f"warning: {remark}")
    return texts


def _options(args: argparse.Namespace) -> PrepareOptions:
    from pydantic import ValidationError

    from nnunetv2_textguided.picai.options import GEOMETRY, PrepareOptions

    names = ("folds", "classes", "zone_source", "ai_labels", "contradictions", "adc", "text_cases")
    chosen = {name: getattr(args, name) for name in names}
    geometry: dict[str, Any] = {**GEOMETRY[args.geometry], "crop_centre": args.crop_centre}
    geometry |= {k: getattr(args, k) for k in ("spacing", "matrix_size") if getattr(args, k) is not None}
    try:
        return PrepareOptions(**chosen, **geometry)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "options"
        raise DataError(f"The options do not fit: {first['msg']}.", where=where) from error


def _nnunet_raw() -> Path:
    from nnunetv2_textguided.nnunet.folders import RAW, nnunet_path

    folder = nnunet_path(RAW)
    if folder is None:
        raise DataError(
            f"{RAW} is not set.", where="environment", remedy="Set nnU-Net's three paths, or pass --raw DIR."
        )
    return folder


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="the raw data set, nnUNet_raw/DatasetNNN_NAME")
    parser.add_argument("--json", type=Path, help="also write the problems to this file")
    parser.add_argument("--jobs", type=count("--jobs"), help="worker processes (default: one per processor, at most 8)")


def _check(args: argparse.Namespace) -> int:
    from nnunetv2_textguided.files import write_json
    from nnunetv2_textguided.nnunet.folders import PREPROCESSED, nnunet_path
    from nnunetv2_textguided.picai.check_dataset import check_dataset
    from nnunetv2_textguided.picai.kinds import describe
    from nnunetv2_textguided.picai.problems import Severity
    from nnunetv2_textguided.processes.pool import default_workers

    workers = args.jobs or default_workers()
    kinds: dict[str, str] = {}
    problems = check_dataset(args.folder, workers=workers, preprocessed=nnunet_path(PREPROCESSED), kinds=kinds)
    for problem in problems:
        print(problem)
    if args.json:
        write_json(args.json, [problem.as_json() for problem in problems])
    print(f"cases: {describe(kinds.values())}")
    errors = sum(problem.severity is Severity.ERROR for problem in problems)
    print(f"{errors} errors, {len(problems) - errors} warnings in {args.folder}")
    return 1 if errors else 0


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--predictions", type=Path, required=True,
                        help="nnU-Net .npz probabilities, probability maps, detection maps or masks")  # fmt: skip
    parser.add_argument("--labels", type=Path, required=True, help="labelsTr, gt_segmentations, or picai_labels' masks")
    parser.add_argument("-o", "--output", type=Path, help="default: picai_evaluation in the prediction folder")
    parser.add_argument("--label", default="csPCa", help="the class to score (default: csPCa)")
    parser.add_argument(
        "--fold", type=count("--fold", 0), help="only the validation cases of this fold; all have to be predicted"
    )
    add_scoring(parser)
    parser.add_argument(
        "--mask-threshold",
        type=number("--mask-threshold", float, above=0, below=1),
        default=0.5,
        help="where only a probability map is given",
    )
    parser.add_argument(
        "--bootstrap", type=count("--bootstrap", 0), default=1000, help="replicates of the patient bootstrap"
    )
    parser.add_argument("--seed", type=count("--seed", 0), default=0, help="of the bootstrap")
    parser.add_argument("--jobs", type=count("--jobs"), help="worker processes (default: one per processor, at most 8)")


def _evaluate(args: argparse.Namespace) -> int:
    from nnunetv2_textguided.evaluation.options import Resampling
    from nnunetv2_textguided.nnunet.labels import find_target
    from nnunetv2_textguided.picai.evaluation import plan_evaluation, run_evaluation
    from nnunetv2_textguided.picai.report import table, write_report
    from nnunetv2_textguided.processes.pool import default_workers

    target, source = find_target((args.labels.parent, args.labels, args.predictions), args.label)
    scoring = read_scoring(args, mask_threshold=args.mask_threshold)
    jobs, unpredicted = plan_evaluation(args.predictions, args.labels, target, scoring, args.fold)
    print(f"{target.name}: label values {sorted(target.values)} by {source or 'the convention of picai_labels'}")
    resampling = Resampling(args.bootstrap, args.seed)
    evaluation = run_evaluation(jobs, unpredicted, resampling, workers=args.jobs or default_workers())
    output = args.output or args.predictions / "picai_evaluation"
    write_report(evaluation, output)
    print(table(evaluation))
    for case, error in evaluation.failed.items():
        print(f"FAILED {case}: {error}", file=sys.stderr)
    print(output)
    return 1 if evaluation.failed or (args.fold is not None and unpredicted) else 0
