"""`nnUNetv2_textguided pseudo-label`: a data set from annotated cases and from reports of further ones."""

from __future__ import annotations

import argparse
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from nnunetv2_textguided.commands.model import add_model, model_folder
from nnunetv2_textguided.commands.numbers import count

if TYPE_CHECKING:
    from nnunetv2_textguided.reports.dataset import Annotated
    from nnunetv2_textguided.reports.pseudo_labels import Plan

_NAME = re.compile(r"Dataset\d{3,}_.+")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments; the model is named as in `predict`."""
    from nnunetv2_textguided.reports.words import WORDS

    add_model(parser)
    parser.add_argument("-f", dest="folds", nargs="+", type=count("-f", 0), help="folds of the model (default: all)")
    parser.add_argument("-i", "--images", type=Path, help="images of further patients (default: -d's text-only cases)")
    parser.add_argument("-o", "--output", required=True, metavar="DATASET", help="the new data set, DatasetXXX_Name")
    parser.add_argument("--case-text", type=Path, help="file with their reports (default: case_text.json of -d)")
    parser.add_argument("--words", nargs="+", choices=WORDS, default=list(WORDS), help="what of a report is used")
    parser.add_argument("--zones", type=Path, help="folder of zone masks CASE.nii.gz (1 PZ, 2 TZ); places need them "
                        "(default: those of -d for its own text-only cases)")  # fmt: skip
    parser.add_argument(
        "--unmatched",
        choices=("place", "leave-out"),
        default="place",
        help="a reported lesion that is no candidate: outlined where its place is most probable, or its case left out",
    )
    parser.add_argument("--label", help="label of the lesions (default: csPCa, or the only label)")
    parser.add_argument("--disable_tta", action="store_true", help="no test-time mirroring")
    parser.add_argument("-device", "--device", choices=("cuda", "cpu", "mps"), default="cuda", help="default: cuda")
    parser.add_argument("-npp", type=count("-npp", 0), default=3, help="background processes that preprocess")
    parser.add_argument("-nps", type=count("-nps", 0), default=3, help="background processes that export")


def run(args: argparse.Namespace) -> int:
    """Make the data set and say what became of the cases; the exit status is 0 if any was labelled."""
    from nnunetv2_textguided.reports.pseudo_labels import make_pseudo_labels

    plan = _plan(args)
    made = make_pseudo_labels(plan)
    origins = Counter(one.origin for one in made)
    counts = ", ".join(f"{number} {name}" for name, number in origins.items())
    print(f"{len(plan.annotated.cases)} annotated; {counts}")
    for one in made:
        if one.reason:
            print(f"{one.case} ({one.origin}): {one.reason}")
    print(plan.target)
    return 0 if any(one.label is not None for one in made) else 1


def _plan(args: argparse.Namespace) -> Plan:
    from nnunetv2_textguided.errors import DataError
    from nnunetv2_textguided.evaluation.classes import choose_targets
    from nnunetv2_textguided.inference.options import ModelOptions, WorkOptions
    from nnunetv2_textguided.nnunet.datasets import dataset_name
    from nnunetv2_textguided.nnunet.folders import PREPROCESSED, RAW, required_path
    from nnunetv2_textguided.reports.dataset import Annotated
    from nnunetv2_textguided.reports.pseudo_labels import Plan

    if args.dataset is None:
        raise DataError("Which data set has the outlines?", where="-d", remedy="Name it with -d; -m names the model.")
    if not _NAME.fullmatch(args.output):
        raise DataError(f"{args.output!r} is no name of a data set.", where="-o", remedy="Write DatasetXXX_Name.")
    required_path(PREPROCESSED)
    raw = required_path(RAW)
    annotated = Annotated.read(raw / dataset_name(args.dataset, RAW))
    images, zones, reports = _reported(args, annotated)
    (label, *more) = choose_targets(annotated.description["labels"], args.label, annotated.folder / "dataset.json")
    if more:
        raise DataError("Which label are the lesions?", where="--label", remedy="Name it.")
    folds = None if args.folds is None else tuple(args.folds)
    mirroring = not args.disable_tta
    return Plan(
        annotated,
        images,
        reports,
        raw / args.output,
        ModelOptions(model_folder(args), folds, args.checkpoint, device=args.device, mirroring=mirroring),
        label,
        tuple(dict.fromkeys(["count", *args.words])),
        zones,
        args.unmatched == "place",
        WorkOptions(args.npp, args.nps),
    )


def _reported(args: argparse.Namespace, annotated: Annotated) -> tuple[Path, Path | None, Path]:
    """Folders of the images and zones of the further patients, and the file with their reports."""
    from nnunetv2_textguided.errors import DataError
    from nnunetv2_textguided.text.case_text import find_case_text

    images, zones = args.images, args.zones
    if images is None:
        if not annotated.text_only:
            raise DataError(
                "Whose reports? Every case of the data set has an outline.",
                where=annotated.folder,
                remedy="Name the folder with the images of further patients with -i.",
            )
        images, zones = annotated.folder / "imagesTr", zones or annotated.zones
    reports = args.case_text or find_case_text(annotated.folder)
    if reports is None:
        raise DataError("There is no case text.", where=annotated.folder, remedy="Name the file with --case-text.")
    return images, zones, reports
