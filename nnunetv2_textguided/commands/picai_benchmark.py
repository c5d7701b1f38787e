"""`nnUNetv2_textguided picai benchmark`: from the public archive to the five-fold table with all controls."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import re
import shlex
import statistics
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from nnunetv2_textguided.commands.benchmark import add_trainings
from nnunetv2_textguided.commands.numbers import OptionError, count, number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnunetv2_textguided.benchmark.archive import Pipeline, Step

PROGRAM = "nnUNetv2_textguided"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this action's arguments."""
    parser.add_argument("--images", type=Path, required=True, help="the archive's folder of patient folders")
    parser.add_argument("--labels", type=Path, required=True, help="checkout of github.com/DIAGNijmegen/picai_labels")
    parser.add_argument(
        "-d", "--dataset", type=number("-d", int, least=1, most=9999), default=2203, help="number of the data set"
    )
    parser.add_argument("-p", "--plans", default="nnUNetAlignRefinePlans", help="name of the method's plans")
    parser.add_argument("--rows", nargs="+", default=[], metavar="ROW", help="rows of the table (default: all)")
    parser.add_argument("--encoder", help="embed the prompts with this text encoder (default: the package's bank)")
    parser.add_argument("--processes", type=count("--processes"), default=8, help="worker processes of preparation")
    parser.add_argument("--options", nargs="+", default=[], type=_options, metavar="STEP=OPTIONS",
                        help="further options of a step's command, such as plan='--gpu-memory 24'")  # fmt: skip
    parser.add_argument("--until", metavar="STEP", help="stop after this step (default: the last)")
    speed = "10^12 operations per second of a GPU, for the estimate (default: 30, an A100)"
    parser.add_argument("--tflops", type=number("--tflops", float, above=0), help=speed)
    parser.add_argument("--dry-run", action="store_true", help="print all commands and what they cost, and stop")
    parser.set_defaults(trainings=add_trainings(parser))


def _options(word: str) -> tuple[str, tuple[str, ...]]:
    step, equals, text = word.partition("=")
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise OptionError(f"{text!r} cannot be split into words: {error}.", where="--options") from error
    if not equals:
        raise OptionError(f"{word!r} names no step.", where="--options", remedy="Give STEP='OPTIONS'.")
    return step, words


def run(args: argparse.Namespace) -> int:
    """Run the steps that are not done; returns the exit status."""
    pipeline = _pipeline(args)
    own = {step.name: _parsed(step.words) for step in pipeline.steps if _is_own(step)}
    if args.dry_run:
        _print_dry_run(args, pipeline)
        return 0
    for step in pipeline.steps:
        if step.is_done():
            print(f"{step.name}: done")
        else:
            print(f"{step.name}: $ {_line(step, args)}", flush=True)
            status = _run(step, pipeline, own.get(step.name))
            if status:
                print(f"The step {step.name} did not succeed. The same command goes on there.", file=sys.stderr)
                return status
            pipeline.note(step)
        if step.name == args.until:
            break
    return 0


def _pipeline(args: argparse.Namespace) -> Pipeline:
    from nnunetv2_textguided.benchmark.archive import STEPS, Pipeline
    from nnunetv2_textguided.benchmark.request import Request
    from nnunetv2_textguided.benchmark.rows import choose_rows

    options, steps = dict(args.options), [step for step in STEPS if args.encoder or step != "encode"]
    for option, names in (("--options", options), ("--until", [args.until] if args.until else [])):
        for name in names:
            if name not in steps:
                raise OptionError(f"There is no step {name!r}.", where=option, remedy=f"Choose of {', '.join(steps)}.")
    request = Request(
        images=args.images,
        labels=args.labels,
        number=args.dataset,
        plans=args.plans,
        rows=choose_rows(args.rows),
        folds=tuple(sorted(set(args.folds))),
        repeats=args.repeats,
        processes=args.processes,
        encoder=args.encoder,
        training=_typed(args),
        options=options,
    )
    return Pipeline(request)


def _typed(args: argparse.Namespace) -> tuple[str, ...]:
    """The options of trainings that are not at their default, as they are typed; the folds are the study's."""
    words: list[str] = []
    for action in args.trainings:
        value = getattr(args, action.dest)
        if value != action.default and action.dest != "folds":
            words += [action.option_strings[-1], *map(str, value if isinstance(value, list) else [value])]
    return tuple(words)


# ---------------------------------------------------------------------------- one step


def _is_own(step: Step) -> bool:
    return bool(step.words) and not step.words[0].startswith("nnUNetv2_")


def _parsed(words: Sequence[str]) -> argparse.Namespace:
    """The arguments of a subcommand of this program."""
    from nnunetv2_textguided.commands.parser import build_parser

    return build_parser((words[0],), words).parse_args(words)


def _call(own: argparse.Namespace) -> int:
    command = importlib.import_module(f"nnunetv2_textguided.commands.{own.command.replace('-', '_')}")
    return int(command.run(own))


def _run(step: Step, pipeline: Pipeline, own: argparse.Namespace | None) -> int:
    """Run a step: a subcommand of this program in this process, nnU-Net's commands as children."""
    from nnunetv2_textguided.processes.command import run_command

    if own is not None:
        return _call(own)
    if not step.words:
        pipeline.write(step)
        return 0
    log, total = pipeline.logs / f"{step.name}.log", len(pipeline.studies)
    progress = partial(_progress, log)
    run_command(step.words, environment=os.environ, log=log, title=step.name, total=total, progress=progress)
    return 0


def _progress(log: Path) -> tuple[int, str]:
    """How many cases are done, by the last state of nnU-Net's progress bar in a log."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 1000))
        counts = re.findall(r"(\d+)/\d+ \[", file.read().decode(errors="replace"))
    return (int(counts[-1]) if counts else 0), ""


def _line(step: Step, args: argparse.Namespace) -> str:
    if not step.words:
        archive = ["--images", str(args.images), "--labels", str(args.labels), "-d", str(args.dataset)]
        rows = ["--rows", *args.rows] if args.rows else []
        return shlex.join([PROGRAM, "picai", "benchmark", *archive, "-p", args.plans, *rows, "--until", step.name])
    return shlex.join([PROGRAM, *step.words] if _is_own(step) else step.words)


# ---------------------------------------------------------------------------- the dry run


def _print_dry_run(args: argparse.Namespace, pipeline: Pipeline) -> None:
    from nnunetv2_textguided.benchmark.price import A100_TFLOPS, describe_rows, measured_tflops, price_table

    done, rows, base = pipeline.done(), pipeline.request.rows, pipeline.request.plans
    for step in pipeline.steps:
        print(f"# {step.name}: {'done' if step.name in done else 'to do'}\n{_line(step, args)}")

    def plan() -> None:
        words = next(step.words for step in pipeline.steps if step.name == "plan")
        with contextlib.redirect_stdout(io.StringIO()):
            _call(_parsed(words))

    tflops = args.tflops or A100_TFLOPS
    planned = pipeline.preprocessed if "plan" in done else None
    facts = describe_rows(rows, base, pipeline.dataset, planned, plan)
    missing = Counter(cell.variant for cell in pipeline.missing())
    trainings = len(pipeline.request.folds) * pipeline.request.repeats
    finished = {row.name: trainings - missing[row.model(base)] for row in rows}
    print("\n# " + ("The data set's plans." if planned else "Planned for PI-CAI's 1500 studies: no plans yet."))
    print("\n".join(f"# {line}" for line in price_table(rows, facts, trainings, finished, tflops)))
    print(f"# GPU hours at {tflops:g} TFLOP/s (--tflops); training only, without validation and preprocessing")
    measured = measured_tflops([pipeline.folder(cell) for cell in pipeline.cells()])
    if measured:
        print(f"# measured in {len(measured)} trainings here: --tflops {statistics.median(measured):.3g}")
