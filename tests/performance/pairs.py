"""Paired ratios: two things timed in turns within one run, so that a busy or throttled machine hits both alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

Action = Callable[[], object]


def _seconds(action: Action) -> tuple[float, float]:
    """(wall, processor) seconds of one call; the processor's count all threads of this process and no other's."""
    wall, processor = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - wall, time.process_time() - processor


def compare(benchmark: Any, dear: Action, cheap: Action, pairs: int, **about: Any) -> float:
    """Time `dear` and `cheap` alternately (A B, B A, A B, ...) and record the ratios of each pair.

    Args:
        benchmark: pytest-benchmark's fixture; the record ends up in its JSON.
        dear: the numerator.
        cheap: the denominator.
        pairs: number of pairs, after one that only warms up.
        about: what else to record: goal, name, limit.

    Returns:
        The median ratio of processor times: what other programs do meanwhile does not count.
    """
    times: list[tuple[tuple[float, float], tuple[float, float]]] = []

    def pair() -> None:
        if len(times) % 2:
            second, first = _seconds(cheap), _seconds(dear)
            times.append((first, second))
        else:
            times.append((_seconds(dear), _seconds(cheap)))

    benchmark.pedantic(pair, rounds=pairs, warmup_rounds=1)
    # In a run that does not time, pytest-benchmark calls once and there is no warm-up to leave out.
    kept = times[-pairs:]
    record(
        benchmark,
        kind="time",
        wall=[dear[0] / cheap[0] for dear, cheap in kept],
        processor=[dear[1] / cheap[1] for dear, cheap in kept],
        seconds=statistics.median(dear[1] for dear, _ in kept),
        **about,
    )
    return statistics.median(benchmark.extra_info["processor"])


def record(benchmark: Any, **about: Any) -> None:
    """Put values beside a benchmark's times, from where table.py reads them."""
    benchmark.extra_info.update(about)


def counted(benchmark: Any, count: Callable[[], float], **about: Any) -> float:
    """Record a ratio that is counted, not timed: the same on every machine."""
    value = benchmark.pedantic(count, rounds=1)
    record(benchmark, kind="count", value=value, **about)
    return float(value)
