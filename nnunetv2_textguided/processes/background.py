"""Work in background processes with a bounded number of results waiting, so that memory does not follow the cohort."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from typing import Generic, Protocol, TypeVar

from nnunetv2_textguided.errors import TextGuidedError
from nnunetv2_textguided.processes.interrupts import end_with_parent, kill_workers
from nnunetv2_textguided.processes.noise import silence

Item = TypeVar("Item")
Result = TypeVar("Result")
Held = TypeVar("Held", covariant=True)


class Pending(Protocol[Held]):
    """A result that can be asked for; asking waits for it, or does the work, and raises what the work raised."""

    def result(self) -> Held:
        """The result."""
        ...


class _InForeground(Generic[Result]):
    """Work that is done when its result is asked for."""

    def __init__(self, work: Callable[[], Result]) -> None:
        self.result = work


class _InBackground(Generic[Result]):
    """Work of another process, which may die of it."""

    def __init__(self, future: Future[Result]) -> None:
        self._future = future

    def result(self) -> Result:
        """The result; a TextGuidedError if the process died."""
        try:
            return self._future.result()
        except BrokenProcessPool as error:
            raise TextGuidedError(
                "A background process died while it worked on this case or on another at the same time.",
                remedy="It may have run out of memory: predict again with --continue_prediction and -npp 1 -nps 1.",
            ) from error


class Workers(Generic[Item, Result]):
    """`function(item)` for many items in `count` processes; in this process if `count` is 0.

    Processes are spawned, as nnU-Net's are: a process forked from one that has used CUDA or threads can hang. If one
    dies, what was in work is lost, and later items get new processes.
    """

    def __init__(self, function: Callable[[Item], Result], count: int) -> None:
        self._function, self._count = function, count
        self._pool = self._start() if count else None

    def _start(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self._count, mp_context=context, initializer=_begin)

    def submit(self, item: Item) -> Pending[Result]:
        """Start the work on `item`, or put it off until it is asked for."""
        if self._pool is None:
            return _InForeground(partial(self._function, item))
        try:
            return _InBackground(self._pool.submit(self._function, item))
        except BrokenProcessPool:
            self._pool = self._start()
            return _InBackground(self._pool.submit(self._function, item))

    def ahead(self, items: Iterable[Item]) -> Iterator[tuple[Item, Pending[Result]]]:
        """Results in order, at most one per process ahead of the one that is asked for."""
        waiting: deque[tuple[Item, Pending[Result]]] = deque()
        for item in items:
            waiting.append((item, self.submit(item)))
            if len(waiting) > self._count:
                yield waiting.popleft()
        yield from waiting

    def kill(self) -> None:
        """End what runs."""
        if self._pool is not None:
            kill_workers(self._pool)

    def close(self) -> None:
        """Wait for what runs; what has not begun is dropped."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def _begin() -> None:
    silence()
    end_with_parent()


@contextmanager
def workers(function: Callable[[Item], Result], count: int) -> Iterator[Workers[Item, Result]]:
    """Workers that are closed at the end, and killed where the work is interrupted."""
    pool = Workers(function, count)
    try:
        yield pool
    except KeyboardInterrupt:
        pool.kill()
        raise
    finally:
        pool.close()
