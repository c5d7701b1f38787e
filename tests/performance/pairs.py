"""Paired ratios: two things timed in turns within one run, so that a busy or throttled machine hits both alike."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from scipy.special import stdtrit

Action = Callable[[], object]
MET, MISSED, NOT_SHOWN = "met", "missed", "not shown"
MORE = 4
"""Up to this many times as many pairs are timed where the first do not show whether a goal is met."""


@dataclass(frozen=True)
class Ratio:
    """Of two times, from pairs.

    Attributes:
        median: of the pairs' ratios.
        low, high: 95 % interval of their geometric mean.
        verdict: MET, MISSED or NOT_SHOWN; None without a limit.
    """

    median: float
    low: float
    high: float
    verdict: str | None

    @property
    def missed(self) -> bool:
        """Whether the goal is shown to be missed, the one thing that fails a run."""
        return self.verdict == MISSED


def judge(ratios: Sequence[float], limit: float | None) -> Ratio:
    """Whether the mean ratio is at most a limit: met or missed only where its whole interval says so.

    Args:
        ratios: one per pair, positive.
        limit: the goal.
    """
    logs, number = [math.log(ratio) for ratio in ratios], len(ratios)
    mean = statistics.fmean(logs)
    half = math.inf
    if number > 1:
        half = float(stdtrit(number - 1, 0.975)) * statistics.stdev(logs) / math.sqrt(number)
    low, high = math.exp(mean - half), math.exp(min(mean + half, 700))
    verdict = None if limit is None else MET if high <= limit else MISSED if low > limit else NOT_SHOWN
    return Ratio(statistics.median(ratios), low, high, verdict)


def _seconds(action: Action) -> tuple[float, float]:
    """(wall, processor) seconds of one call; the processor's count all threads of this process and no other's."""
    wall, processor = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - wall, time.process_time() - processor


def compare(benchmark: Any, dear: Action, cheap: Action, pairs: int, **about: Any) -> Ratio:
    """Time `dear` and `cheap` alternately (A B, B A, A B, ...) and record the ratios of each pair.

    Args:
        benchmark: pytest-benchmark's fixture; the record ends up in its JSON.
        dear: the numerator.
        cheap: the denominator.
        pairs: number of pairs, after one that only warms up; more where they do not show whether `limit` is met.
        about: what else to record: goal, name, limit.

    Returns:
        The ratio of processor times: what other programs do meanwhile does not count.
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
    while True:
        ratio = judge([dear[1] / cheap[1] for dear, cheap in kept], about.get("limit"))
        if ratio.verdict != NOT_SHOWN or benchmark.disabled or len(kept) >= MORE * pairs:
            break
        pair()
        kept.append(times[-1])
    record(
        benchmark,
        kind="time",
        wall=[dear[0] / cheap[0] for dear, cheap in kept],
        processor=[dear[1] / cheap[1] for dear, cheap in kept],
        seconds=statistics.median(dear[1] for dear, _ in kept),
        interval=[ratio.low, ratio.high],
        verdict=ratio.verdict,
        **about,
    )
    return ratio


def record(benchmark: Any, **about: Any) -> None:
    """Put values beside a benchmark's times, from where table.py reads them."""
    benchmark.extra_info.update(about)


def counted(benchmark: Any, count: Callable[[], float], **about: Any) -> float:
    """Record a ratio that is counted, not timed: the same on every machine."""
    value = benchmark.pedantic(count, rounds=1)
    record(benchmark, kind="count", value=value, **about)
    return float(value)
