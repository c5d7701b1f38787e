"""Signals end a command and the processes that it started, wherever it was started and however it dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache
from multiprocessing.connection import wait
from typing import Any

_before_fork = threading.local()


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGINT and SIGTERM interrupt, also where a shell's script had SIGINT ignored in what it starts with `&`.

    SIGTERM ends a process that is forked meanwhile (nnU-Net lists files with a pool of them) at once, as if nothing
    had been set here. Python's own handler would only note the signal: a worker that begins to wait for work in that
    moment waits for ever, and the pool for the worker.
    """
    if threading.current_thread() is not threading.main_thread():  # which alone may set what signals do
        yield
        return
    _guard_forks()
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@cache
def _guard_forks() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_hold_sigterm, after_in_parent=_release_sigterm, after_in_child=_reset_sigterm)


def _hold_sigterm() -> None:
    # What arrives while the child still has the parent's handler would be lost on it.
    _before_fork.mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _release_sigterm() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _before_fork.mask)


def _reset_sigterm() -> None:
    if signal.getsignal(signal.SIGTERM) is signal.default_int_handler:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _release_sigterm()


def end_with_parent() -> None:
    """For a worker process: end when the process that started it is gone, instead of waiting for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_watch, args=(parent.sentinel,), daemon=True).start()


def _watch(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def kill_workers(pool: ProcessPoolExecutor) -> None:
    """End the processes of a pool at once: what they work on is not wanted any more."""
    for process in list((pool._processes or {}).values()):
        process.terminate()
    queue: Any = pool._call_queue  # type: ignore[attr-defined]
    if queue is not None:
        # Else what is being sent to them waits for a reader for ever in some versions of Python, such as 3.11.2.
        queue._reader.close()
