"""`benchmark run`: check, describe, compare, then train and validate whatever is missing."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from nnunetv2_textguided.benchmark.cells import Step, command, command_line, next_step
from nnunetv2_textguided.benchmark.check import check_study, validation_cases
from nnunetv2_textguided.benchmark.coordinator import Coordinator, State, Status
from nnunetv2_textguided.benchmark.describe import describe_study
from nnunetv2_textguided.benchmark.facts import ModelFacts
from nnunetv2_textguided.benchmark.fairness import describe_fairness
from nnunetv2_textguided.benchmark.pool import Pool, PoolOptions, local_slots
from nnunetv2_textguided.benchmark.record import read_record
from nnunetv2_textguided.benchmark.study import Cell, Study, Variant
from nnunetv2_textguided.files import visible
from nnunetv2_textguided.nnunet.folders import RESULTS, required_path

JOBS = ".benchmark_jobs"
"""Folder of submitit's files, in the data set's folder in nnUNet_results."""


UNLIKE = {
    "configuration_sha256": "other settings (or a version of this package that has others)",
    "splits_sha256": "other folds",
}
"""Keys of a record that tell a training from what it would be now, and what it means if they do."""


@dataclass(frozen=True)
class RunOptions:
    """How a study is run.

    Attributes:
        pool: where; its slots are found here.
        gpus: GPUs of this machine to use; None: all that are visible.
        jobs: trainings at a time; None: one per GPU, one on a CPU, all on SLURM.
        retries: how often a training whose worker was lost is tried again.
        dry_run: only print nnU-Net's commands.
    """

    pool: PoolOptions
    gpus: int | None = None
    jobs: int | None = None
    retries: int = 2
    dry_run: bool = False


def run_benchmark(
    dataset: str,
    configuration: str,
    trainers: list[str],
    plans: list[str],
    folds: list[int],
    options: RunOptions,
) -> int:
    """Run a benchmark.

    Returns:
        The exit status: 0 if every training is done.

    Raises:
        DataError: something that was asked for does not exist.
    """
    study = check_study(dataset, configuration, trainers, plans, folds)
    facts = describe_study(study)
    cases = validation_cases(study)
    results = required_path(RESULTS)
    text = describe_fairness(study, facts, cases)
    notes = list(_notes(study, results, facts))
    if options.dry_run:
        print("\n".join(f"# {line}".rstrip() for line in [*text.splitlines(), *notes]))
        print("\n".join(_commands(study, results, cases, options.pool.device)))
        return 0
    print("\n".join([text, *notes, ""]), flush=True)
    pool = Pool(replace(options.pool, slots=_slots(study, options)), results / study.dataset / JOBS)
    coordinator = Coordinator(study, results, facts, cases, pool, options.retries)
    statuses = _show(study, coordinator)
    for failure in coordinator.failures():
        print(failure, file=sys.stderr)
    return 0 if all(status.state is State.DONE for status in statuses.values()) else 1


def _show(study: Study, coordinator: Coordinator) -> Mapping[Cell, Status]:
    from nnunetv2_textguided.benchmark.display import Lines, make_display, print_table

    # A scheduler's or an administrator's polite end is an interruption: no training is left behind unwatched.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with make_display(study, sys.stdout) as display:
            statuses = coordinator.run(display)
    finally:
        signal.signal(signal.SIGTERM, before)
    if isinstance(display, Lines):
        print_table(study, statuses, sys.stdout)
    return statuses


def _slots(study: Study, options: RunOptions) -> tuple[str | None, ...]:
    if options.pool.executor == "local":
        return local_slots(options.pool.device, options.gpus, options.jobs)
    return (None,) * (options.jobs or len(list(study.cells())))


def _commands(study: Study, results: Path, cases: Mapping[int, tuple[str, ...]], device: str) -> Iterator[str]:
    """nnU-Net's command for every training that is not done; a comment for those that are."""
    for cell in study.cells():
        step = next_step(cell.folder(results, study.dataset), cases[cell.fold])
        line = command_line(command(cell, study.dataset, step, device))
        yield f"# done: {line}" if step is Step.NOTHING else line


def _notes(study: Study, results: Path, facts: Mapping[Variant, ModelFacts]) -> Iterator[str]:
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
            line = command_line(command(cell, study.dataset, Step.VALIDATE, "cuda"))
            yield f"NOTE: {folder} has no probabilities, which detection metrics need; they come with: {line}"
    for (variant, what), folds in unlike.items():
        yield f"NOTE: {variant.name}, fold {', '.join(folds)}: trained with {what} than one would be now"
