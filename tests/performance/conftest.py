"""Benchmarks: collected by `make bench` (or any run with --benchmark-only), not by a normal run of the tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Minutes of computing, and times that mean nothing beside other tests: only on demand."""
    return None if config.getoption("benchmark_only") else True


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """What is stated in docs/performance.md is measured with two threads, on machines with more cores, too.

    BENCH_THREADS=1 is for busy machines: threads that wait for one another count as processor time.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(int(os.environ.get("BENCH_THREADS", "2")))
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Record what times depend on, and nothing that names the machine."""
    threads = int(os.environ.get("BENCH_THREADS", "2"))
    kept = {key: machine_info["cpu"].get(key) for key in ("arch", "count")}
    machine_info.clear()
    machine_info.update(cpu=kept, torch=torch.__version__.split("+")[0], threads=threads)
