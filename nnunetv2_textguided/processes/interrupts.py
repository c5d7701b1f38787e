"""Signals end a command and the processes that it started, wherever it was started and however it dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import Any


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGINT and SIGTERM interrupt, also where a shell's script had SIGINT ignored in what it starts with `&`."""
    if threading.current_thread() is not threading.main_thread():  # which alone may set what signals do
        yield
        return
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
