"""`nnUNetv2_textguided predict`: what nnUNetv2_predict gives, and per case the evidence behind it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from nnunetv2_textguided.commands.model import add_model, model_folder
from nnunetv2_textguided.commands.numbers import count, number
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.files import check_writable
from nnunetv2_textguided.inference.jobs import JobOptions
from nnunetv2_textguided.inference.options import MISSING, OUTSIDE_GLAND, ModelOptions, OutputOptions, WorkOptions
from nnunetv2_textguided.processes.jobs import EXECUTORS, parse_sbatch
from nnunetv2_textguided.processes.noise import ForeignOutput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments. Those that nnUNetv2_predict has are called as they are there."""
    parser.add_argument("-i", dest="input", type=Path, required=True, help="folder of CASE_0000.nii.gz, ...")
    parser.add_argument("--layout", choices=("nnunet", "studies"), default="nnunet",
                        help="of -i; studies: a folder per patient, DICOM or files called t2w, adc, hbv")  # fmt: skip
    parser.add_argument("--missing", choices=MISSING, default="error",
                        help="with --layout studies; allow: predict patients who lack a channel, if the model was "
                        "trained for it")  # fmt: skip
    parser.add_argument("-o", dest="output", type=Path, required=True, help="prediction folder")
    _add_model(parser.add_argument_group("model"))
    _add_results(parser.add_argument_group("results"))
    _add_work(parser.add_argument_group("work"))


def _add_model(group: argparse._ArgumentGroup) -> None:
    add_model(group)
    group.add_argument("-f", dest="folds", nargs="+", default=["0", "1", "2", "3", "4"], help="folds to average")
    group.add_argument(
        "-step_size",
        type=number("-step_size", float, above=0, most=1),
        default=0.5,
        help="step of the sliding window (default: 0.5)",
    )
    group.add_argument("--disable_tta", action="store_true", help="no test-time mirroring")
    group.add_argument("-device", "--device", choices=("cuda", "cpu", "mps"), default="cuda", help="default: cuda")
    group.add_argument("--not_on_device", action="store_true", help="accumulate in main memory")
    group.add_argument("--prompts", help="ask with another prompt bank (name or JSON file)")
    group.add_argument("--embeddings", type=Path, help="ask with another embedding file")
    group.add_argument("--without-refiner", action="store_true", help="the network's masks before its refiner")
    group.add_argument("--case-text", type=Path, help="what is known of the cases, for a model trained with it")
    group.add_argument("--sentences", type=Path, help="embedding file with sentences of it, where no encoder is")
    group.add_argument("--trust", action="store_true", help="read checkpoints that could execute code, too")
    group.add_argument("--encoder", help="text encoder for --prompts or --case-text (default: the model's own)")


def _add_results(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--heatmaps", action="store_true", help="write heatmaps and the refiner's change maps")
    group.add_argument("--overlays", action="store_true", help="write key slices of each candidate as PNG")
    group.add_argument("--viewer", action="store_true", help="write an HTML viewer that opens from disk")
    group.add_argument("--save_probabilities", action="store_true", help="write nnU-Net's .npz and .pkl")
    group.add_argument("--threshold", metavar="P",
                       help="cut probabilities there: fitted, or a number (default: as nnU-Net)")  # fmt: skip
    group.add_argument("--candidates", default="dynamic",
                       help="dynamic (PI-CAI's; default), dynamic-fast, a probability, mask, or none")  # fmt: skip
    group.add_argument("--lesion-label", help="label of the candidates (default: csPCa, or the only label)")
    group.add_argument("--zones", type=Path, help="folder of zone masks CASE.nii.gz (1 PZ, 2 TZ)")
    group.add_argument("--outside-gland", choices=OUTSIDE_GLAND, default="mark",
                       help="candidates outside the gland (of --zones, or of a model that segments zones)")  # fmt: skip


def _add_work(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--continue_prediction", action="store_true", help="leave alone what is complete")
    group.add_argument(
        "-npp", type=count("-npp", 0), default=3, help="background processes that preprocess; 0: none (default: 3)"
    )
    group.add_argument(
        "-nps", type=count("-nps", 0), default=3, help="background processes that export; 0: none (default: 3)"
    )
    group.add_argument(
        "-num_parts", type=count("-num_parts"), default=1, help="number of parts the cases are split into"
    )
    group.add_argument(
        "-part_id", type=count("-part_id", 0), default=0, help="which part this command predicts, from 0"
    )
    group.add_argument(
        "--jobs", type=count("--jobs"), default=1, help="split the cases over this many jobs (default: 1, here)"
    )
    group.add_argument("--executor", choices=EXECUTORS, default="local", help="where jobs run")
    group.add_argument(
        "--hours", type=number("--hours", float, above=0), default=24.0, help="time limit of a job (default: 24)"
    )
    group.add_argument("--cpus", type=count("--cpus"), default=8, help="CPUs of a SLURM job (default: 8)")
    group.add_argument("--sbatch", nargs="+", default=[], metavar="KEY=VALUE",
                       help="further sbatch options, such as partition=gpu gres=gpu:1")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Predict; the exit status is 1 if a case failed."""
    foreign = ForeignOutput()
    with foreign.capture():
        model, output, work = _model(args), _output(args), _work(args)
    if args.layout == "studies" and (args.jobs > 1 or args.executor != "local" or not args.input.is_dir()):
        raise DataError(
            "A folder of studies is predicted by one process, here.",
            where="--layout studies",
            remedy="Check -i; leave --jobs and --executor out, or divide the folder by hand.",
        )
    check_writable(args.output)
    if args.layout != "studies" and args.missing != "error":
        raise DataError(
            "nnU-Net's layout tells channels by their numbers: none may be missing.",
            where="--missing allow",
            remedy="Use --layout studies, a folder per patient with the channels that there are.",
        )
    if args.jobs > 1 or args.executor != "local":
        from nnunetv2_textguided.inference.jobs import predict_cohort

        summary = predict_cohort(args.input, model, output, work, _jobs(args))
    else:
        with foreign.capture():
            from nnunetv2_textguided.inference.loading import open_session
            from nnunetv2_textguided.inference.run import predict_folder
            from nnunetv2_textguided.inference.studies import predict_studies

        if args.layout == "studies":
            summary = predict_studies(open_session(model, output, foreign), args.input, work, args.missing)
        else:
            summary = predict_folder(args.input, model, output, work, foreign)
    failed = summary.failed
    for case, remarks in summary.remarks.items():
        print(f"note {case}: {'; '.join(remarks)}")
    print(f"{len(summary.predicted)} predicted, {summary.skipped} complete before, {len(failed)} failed: {args.output}")
    for case, error in failed.items():
        print(f"FAILED {case}: {error}", file=sys.stderr)
    return 1 if failed else 0


def _model(args: argparse.Namespace) -> ModelOptions:
    return ModelOptions(
        folder=model_folder(args),
        folds=tuple(fold if fold == "all" else _fold(fold) for fold in args.folds),
        checkpoint=args.checkpoint,
        device=args.device,
        step_size=args.step_size,
        mirroring=not args.disable_tta,
        on_device=not args.not_on_device,
        prompts=args.prompts,
        embeddings=args.embeddings,
        encoder=args.encoder,
        trust=args.trust,
        case_text=args.case_text,
        sentences=args.sentences,
        refiner=not args.without_refiner,
    )


def _fold(text: str) -> int:
    if not text.isdecimal():
        raise DataError(f"{text!r} is no fold.", where="-f", remedy="Numbers, or all.")
    return int(text)


def _output(args: argparse.Namespace) -> OutputOptions:
    if args.candidates == "none" and (args.overlays or args.viewer or args.zones):
        raise DataError("--overlays, --viewer and --zones are about candidates.", where="--candidates none",
                        remedy="Use --candidates mask, or leave them out.")  # fmt: skip
    if args.zones is not None and not args.zones.is_dir():
        raise DataError("The folder of zone masks does not exist.", where=args.zones, remedy="Check --zones.")
    return OutputOptions(
        folder=args.output,
        heatmaps=args.heatmaps,
        overlays=args.overlays,
        viewer=args.viewer,
        probabilities=args.save_probabilities,
        candidates=args.candidates,
        lesion_label=args.lesion_label,
        zones=args.zones,
        outside_gland=args.outside_gland,
        threshold=args.threshold,
    )


def _jobs(args: argparse.Namespace) -> JobOptions:
    if args.jobs < 1 or args.num_parts != 1:
        raise DataError("--jobs makes parts of its own.", where="--jobs, -num_parts", remedy="Use one of the two.")
    return JobOptions(args.jobs, args.executor, args.hours, args.cpus, parse_sbatch(args.sbatch))


def _work(args: argparse.Namespace) -> WorkOptions:
    if not 0 <= args.part_id < args.num_parts:
        raise DataError(f"There is no part {args.part_id} of {args.num_parts}.", where="-part_id, -num_parts",
                        remedy="Parts are counted from 0.")  # fmt: skip
    return WorkOptions(
        preprocessing=args.npp,
        export=args.nps,
        part=args.part_id,
        parts=args.num_parts,
        continued=args.continue_prediction,
    )
