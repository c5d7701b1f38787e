"""Processes that may be killed, and a planned data set for them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.datasets import write_dataset
from tests.reliability.isolation import Isolation
from tests.reliability.pinned import plan

CASES = [f"case_{index:03d}" for index in range(5)]
SPLITS = [{"train": [c for c in CASES if c != case], "val": [case]} for case in (CASES[2], CASES[3])]


@pytest.fixture(scope="session")
def isolation() -> Isolation:
    """Starts functions in processes of their own."""
    return Isolation()


@pytest.fixture(scope="session")
def planned_once(tmp_path_factory: pytest.TempPathFactory, isolation: Isolation) -> Path:
    """nnU-Net's folders with a tiny data set, planned and preprocessed; do not train here."""
    root = tmp_path_factory.mktemp("planned_once")
    write_dataset(root / "raw")
    isolation.run(root, plan, root, ("3d_fullres",), SPLITS)
    return root


@pytest.fixture
def copy_planned(planned_once: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Private copies of nnU-Net's folders, by name."""

    def copy(name: str) -> Path:
        target = tmp_path / name
        shutil.copytree(planned_once, target, ignore=shutil.ignore_patterns("child_*"))
        (target / "results").mkdir(exist_ok=True)
        return target

    return copy
