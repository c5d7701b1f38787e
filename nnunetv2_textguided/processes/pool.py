"""Running one function over many jobs in worker processes, where no single job can take the others down."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Generic, TypeVar

from nnunetv2_textguided.errors import DataError, TextGuidedError
from nnunetv2_textguided.processes.interrupts import end_with_parent, kill_workers

Job = TypeVar("Job")
Value = TypeVar("Value")


@dataclass(frozen=True)
class JobResult(Generic[Job, Value]):
    """What came of a job: a value, or an error for the user."""

    job: Job
    value: Value | None = None
    error: TextGuidedError | None = None


def default_workers() -> int:
    """As many workers as this process may use processors, at most 8: beyond that the disk is the limit."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(8, usable))


def run_jobs(function: Callable[[Job], Value], jobs: Sequence[Job], *, workers: int) -> Iterator[JobResult[Job, Value]]:
    """Yield the result of every job, in the order in which they finish.

    Args:
        function: a module-level function (worker processes are spawned and import it).
        jobs: picklable arguments.
        workers: number of processes; 1 runs everything in this process.
    """
    if workers <= 1:
        for job in jobs:
            yield _finish(job, *_guarded(function, job))
        return
    interrupted = yield from _in_pool(function, jobs, workers)
    # A worker that dies (killed for memory, a crash in a native library) breaks its whole pool. The jobs it took along
    # are run again, each alone in a pool of its own, so that the culprit is known and the others finish.
    for job in interrupted:
        again = yield from _in_pool(function, [job], 1)
        if again:
            died = DataError(
                "The worker process died while it worked on this case.",
                where=getattr(job, "case", job),
                remedy="Most likely memory ran out: use fewer --jobs.",
            )
            yield JobResult(job, error=died)


def _in_pool(
    function: Callable[[Job], Value], jobs: Sequence[Job], workers: int
) -> Generator[JobResult[Job, Value], None, list[Job]]:
    """Yield results; return the jobs that a broken pool left undone."""
    context = multiprocessing.get_context("spawn")
    undone: list[Job] = []
    with ProcessPoolExecutor(min(workers, len(jobs)) or 1, context, initializer=end_with_parent) as pool:
        futures: dict[Future, Job] = {}
        try:
            for job in jobs:
                futures[pool.submit(_guarded, function, job)] = job
        except BrokenProcessPool:
            undone = list(jobs[len(futures) :])
        try:
            for future in as_completed(futures):
                try:
                    yield _finish(futures[future], *future.result())
                except BrokenProcessPool:
                    undone.append(futures[future])
        except BaseException as ended:  # interrupted, or the consumer stopped: do not start what is still waiting
            if isinstance(ended, KeyboardInterrupt):
                kill_workers(pool)
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return undone


def _guarded(function: Callable[[Job], Value], job: Job) -> tuple[Value | None, TextGuidedError | None]:
    """Run the job; every exception becomes an error that crosses the process border and leaves the others alone."""
    try:
        return function(job), None
    except TextGuidedError as error:
        return None, error
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{getattr(job, 'case', job)} (in {os.path.basename(last.filename)}, line {last.lineno})"
        kind = "Memory ran out" if isinstance(error, MemoryError) else f"Unexpected {type(error).__name__}"
        return None, DataError(f"{kind}: {error}", where=where, remedy="Check the case's files; use fewer --jobs.")


def _finish(job: Job, value: Value | None, error: TextGuidedError | None) -> JobResult[Job, Value]:
    return JobResult(job, value, error)
