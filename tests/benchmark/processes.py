"""Processes that tests wait for to begin and to end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from nnunetv2_textguided.benchmark.claim import _start_time


def wait_for(condition: Callable[[], object], seconds: float = 300.0) -> None:
    """Wait until the condition holds; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.05)


def wait_until_gone(pids: Iterable[int]) -> None:
    """Wait until none of the processes runs."""
    wait_for(lambda: all(_start_time(pid) is None for pid in pids))
