"""Benchmarks: collected by `make bench` (or any run with --benchmark-only), not by a normal run of the tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Minutes of computing, and times that mean nothing beside other tests: only on demand."""
    return None if config.getoption("benchmark_only") else True


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    """What is stated in docs/performance.md is measured with two threads, on machines with more cores, too."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)
