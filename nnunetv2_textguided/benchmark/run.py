"""`benchmark run`: check, describe, compare, then let Snakemake train and validate whatever is missing."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nnunetv2_textguided.benchmark.cells import (
    CHECKPOINTS,
    GOES_ON,
    Step,
    command,
    command_line,
    is_whole,
    next_step,
    set_damaged_aside,
    set_summary_aside,
)
from nnunetv2_textguided.benchmark.engine import EngineOptions, check_engine, gpu_slots, run_engine
from nnunetv2_textguided.benchmark.facts import ModelFacts
from nnunetv2_textguided.benchmark.fairness import describe_fairness
from nnunetv2_textguided.benchmark.lock import NAME, try_lock
from nnunetv2_textguided.benchmark.record import read_record
from nnunetv2_textguided.benchmark.repeats import missing_plans, write_repeats
from nnunetv2_textguided.benchmark.states import State, Watch
from nnunetv2_textguided.benchmark.study import Study
from nnunetv2_textguided.benchmark.workflow import FOLDER, write_workflow
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.files import visible
from nnunetv2_textguided.nnunet.folders import RESULTS, required_path
from nnunetv2_textguided.nnunet.variant import Variant

UNLIKE = {
    "configuration_sha256": "other settings (or a version of this package that has others)",
    "splits_sha256": "other folds",
}
"""Keys of a record that tell a training from what it would be now, and what it means if they do."""


@dataclass(frozen=True)
class RunOptions:
    """How a study is run.

    Attributes:
        engine: where; its slots are found here.
        device: what nnU-Net's -device takes.
        gpus: GPUs of this machine to use; None: all that are visible.
        jobs: trainings at a time; None: one per GPU, one on a CPU, all on SLURM.
        repeats: how often every variant is trained.
        dry_run: only print nnU-Net's commands.
        program: what to run instead of nnU-Net's command; for tests of everything around it.
    """

    engine: EngineOptions
    device: str = "cuda"
    gpus: int | None = None
    jobs: int | None = None
    repeats: int = 1
    dry_run: bool = False
    program: tuple[str, ...] = ()


def run_benchmark(
    dataset: str,
    configuration: str,
    trainers: list[str],
    plans: list[str],
    folds: list[int],
    options: RunOptions,
    models: Sequence[str] = (),
) -> int:
    """Run a benchmark of every trainer under every plans name, or of the models TRAINER__PLANS.

    Returns:
        The exit status: 0 if every training is done.

    Raises:
        DataError: something that was asked for does not exist.
        TextGuidedError: Snakemake is not installed.
    """
    from nnunetv2_textguided.benchmark.check import check_study, validation_cases
    from nnunetv2_textguided.benchmark.describe import describe_study

    study = replace(check_study(dataset, configuration, trainers, plans, folds, models), repeats=options.repeats)
    facts = describe_study(study)
    cases = validation_cases(study)
    results = required_path(RESULTS)
    _check_content(study, results, cases, options.device)
    text = describe_fairness(study, facts, cases)
    notes = list(_notes(study, results, facts, options.device))
    if options.dry_run:
        print("\n".join(f"# {line}".rstrip() for line in [*text.splitlines(), *notes]))
        print("\n".join(_commands(study, results, cases, options.device)))
        return 0
    check_engine(options.engine.executor)
    print("\n".join([text, *notes, ""]), flush=True)
    write_repeats(study)
    return run_study(study, results, facts, cases, options)


def run_study(
    study: Study,
    results: Path,
    facts: Mapping[Variant, ModelFacts],
    cases: Mapping[int, tuple[str, ...]],
    options: RunOptions,
) -> int:
    """Let Snakemake run what is missing of a study; the exit status."""
    from nnunetv2_textguided.benchmark.display import Lines, make_display, print_table

    slots, gpus = _slots(study, options)
    own_gres = any(key.startswith(("gpu", "gres")) for key in options.engine.sbatch)
    file = write_workflow(
        study,
        results / study.dataset / FOLDER,
        facts,
        cases,
        device=options.device,
        gpus=gpus,
        gpus_per_training=int(options.device == "cuda" and not own_gres),
        program=options.program,
    )
    _set_halves_aside(study, results, cases)
    watch = Watch(study, results, facts, cases, options.engine.retries)
    with make_display(study, sys.stdout) as display:
        status = run_engine(file, replace(options.engine, slots=slots), lambda: display.update(watch.look()))
        watch.adopt()
        statuses = watch.look(over=True)
        display.update(statuses)
    if isinstance(display, Lines):
        print_table(study, statuses, sys.stdout)
    for failure in watch.failures():
        print(failure, file=sys.stderr)
    done = all(each.state is State.DONE for each in statuses.values())
    if status or not done:
        print(f"Snakemake's exit status {status}, its output: {file.parent / 'snakemake.log'}", file=sys.stderr)
    return 0 if done else 1


def _check_content(study: Study, results: Path, cases: Mapping[int, tuple[str, ...]], device: str) -> None:
    """Raise DataError for a checkpoint that nnU-Net would go on with, and that holds more than data."""
    from nnunetv2_textguided.nnunet.checkpoints import refused_content

    for cell in study.cells():
        folder = cell.folder(results, study.dataset)
        step = next_step(folder, cases[cell.fold])
        for path in filter(is_whole, [folder / name for name in CHECKPOINTS] if step in GOES_ON else []):
            if refused := refused_content(path):
                line = command_line(command(cell, study.dataset, step, device))
                raise DataError(
                    f"The checkpoint contains {', '.join(refused)}: reading it, as nnU-Net does, could execute code.",
                    where=path,
                    remedy=f"Remove it to train anew. If you trust whoever made it, go on yourself with: {line}",
                )


def _set_halves_aside(study: Study, results: Path, cases: Mapping[int, tuple[str, ...]]) -> None:
    """To a workflow, a file that exists is done: what is not whole gets another name, unless somebody works on it."""
    for cell in study.cells():
        folder = cell.folder(results, study.dataset)
        if not folder.is_dir() or next_step(folder, cases[cell.fold]) is Step.NOTHING:
            continue
        lock = try_lock(folder / NAME)
        if lock is not None:
            set_damaged_aside(folder)
            set_summary_aside(folder, cases[cell.fold])
            os.close(lock)


def _slots(study: Study, options: RunOptions) -> tuple[int, tuple[str, ...]]:
    """Trainings at a time, and the GPU of each."""
    if options.engine.executor != "local":
        return options.jobs or len(list(study.cells())), ()
    if options.device == "cuda":
        gpus = gpu_slots(options.gpus, options.jobs)
        return len(gpus), gpus
    if options.gpus:
        raise DataError("--gpus goes with --device cuda.", where="--gpus", remedy="Use --jobs N.")
    return options.jobs or 1, ()


def _commands(study: Study, results: Path, cases: Mapping[int, tuple[str, ...]], device: str) -> Iterator[str]:
    """nnU-Net's command for every training that is not done, a comment for those that are; first the repeats' plans."""
    for source, path in missing_plans(study):
        rename = f's/"plans_name": *"[^"]*"/"plans_name": "{path.stem}"/'
        yield f"{command_line(['sed', rename, str(source)])} > {command_line([str(path)])}"
    for cell in study.cells():
        step = next_step(cell.folder(results, study.dataset), cases[cell.fold])
        line = command_line(command(cell, study.dataset, step, device))
        yield f"# done: {line}" if step is Step.NOTHING else line


def _notes(study: Study, results: Path, facts: Mapping[Variant, ModelFacts], device: str) -> Iterator[str]:
    """What makes trainings that are there already unlike those to come."""
    unlike: dict[tuple[Variant, str], list[str]] = {}
    for cell in study.cells():
        folder = cell.folder(results, study.dataset)
        record = read_record(folder)
        for key, what in UNLIKE.items():
            if record is not None and record.get(key) != getattr(facts[cell.variant], key):
                unlike.setdefault((cell.variant, what), []).append(str(cell.fold))
        validation = folder / "validation"
        if (validation / "summary.json").is_file() and not visible(validation, "*.npz"):
            line = command_line(command(cell, study.dataset, Step.VALIDATE, device))
            yield f"NOTE: {folder} has no probabilities, which detection metrics need; they come with: {line}"
    for (variant, what), folds in unlike.items():
        yield f"NOTE: {variant.name}, fold {', '.join(folds)}: trained with {what} than one would be now"
