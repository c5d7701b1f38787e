"""How `make bench` judges: by the interval of paired ratios, with more pairs where they do not show it."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.performance.pairs import MET, MISSED, MORE, NOT_SHOWN, compare, judge
from tests.performance.table import goal_row


@pytest.mark.parametrize(
    ("ratios", "limit", "verdict"),
    [
        ([1.00, 1.01, 0.99, 1.00], 1.05, MET),
        ([1.20, 1.22, 1.19, 1.21], 1.15, MISSED),
        ([0.90, 1.20, 1.00, 1.15], 1.05, NOT_SHOWN),
        ([1.0], 1.05, NOT_SHOWN),
        ([1.0, 1.1], None, None),
    ],
)
def test_a_goal_is_met_or_missed_where_the_interval_says_so(ratios: list[float], limit: float, verdict: str) -> None:
    found = judge(ratios, limit)
    assert found.verdict == verdict
    assert found.low <= found.median <= found.high
    assert found.missed == (verdict == MISSED)


def test_a_true_ratio_at_the_limit_is_seldom_judged() -> None:
    random = np.random.default_rng(0)
    verdicts = [judge(np.exp(random.normal(0, 0.05, 5)).tolist(), 1.0).verdict for _ in range(2000)]
    for wrong in (MET, MISSED):
        assert 0.015 <= verdicts.count(wrong) / 2000 <= 0.035, "2.5 % each"


class _Benchmark(SimpleNamespace):
    disabled = False

    def pedantic(self, action: Any, rounds: int, warmup_rounds: int = 0) -> None:
        for _ in range(rounds + warmup_rounds):
            action()


def _actions(monkeypatch: pytest.MonkeyPatch, seconds: Any) -> Any:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(time, "process_time", lambda: clock.now)
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)

    def dear() -> None:
        clock.now += seconds()

    def cheap() -> None:
        clock.now += 1.0

    return dear, cheap


def test_more_pairs_are_timed_until_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    benchmark = _Benchmark(extra_info={})
    ratio = compare(
        benchmark, *_actions(monkeypatch, lambda: random.normal(1.0, 0.05)), 3, limit=1.06, name="x", goal=1
    )
    assert ratio.verdict == MET
    assert 3 <= len(benchmark.extra_info["processor"]) <= MORE * 3
    assert benchmark.extra_info["interval"] == [ratio.low, ratio.high]


def test_what_stays_unclear_is_said_and_does_not_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = iter([1.0, 0.8, 1.2] * 20)
    benchmark = _Benchmark(extra_info={})
    ratio = compare(benchmark, *_actions(monkeypatch, lambda: next(turns)), 3, limit=1.0, name="x", goal=1)
    assert (ratio.verdict, ratio.missed) == (NOT_SHOWN, False)
    assert len(benchmark.extra_info["processor"]) == MORE * 3
    assert goal_row({}, benchmark.extra_info).endswith("| not shown |")


def test_a_missed_goal_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = _Benchmark(extra_info={})
    assert compare(benchmark, *_actions(monkeypatch, lambda: 1.3), 3, limit=1.0, name="x", goal=1).missed
    assert goal_row({}, benchmark.extra_info).endswith("| **missed** |")
    counted = {"kind": "count", "value": 0.3, "limit": 0.4, "name": "y", "goal": 1}
    assert goal_row({}, counted).endswith("| met |")
