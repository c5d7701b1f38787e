"""What every area's tests share."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# Environments with this project installed serve the tests of the documentation, too.
pytest_plugins = ["tests.packaging.fixtures"]

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_configure() -> None:
    # Small tensors: more threads only contend with the subprocesses that other tests start.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # nnU-Net asks for all cores on a CPU whatever the above says; threads that spin while they wait slow the others.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # A busy machine is slow at drawing examples, too: that says nothing about the code.
    slow = [hypothesis.HealthCheck.too_slow]
    # The normal run draws the same examples each time: whether a change lands does not depend on luck.
    # Random examples per test: about 500 in all in a normal run, over 10,000 in a nightly one (docs/reliability.md).
    for profile, examples in (("normal", 30), ("nightly", 600)):
        hypothesis.settings.register_profile(
            profile,
            max_examples=examples,
            derandomize=profile == "normal",
            deadline=None,
            suppress_health_check=slow,
            print_blob=True,
        )
    hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "normal"))


LONGEST = ("training", "inference", "benchmark", "packaging", "demo", "reports", "reliability", "network", "planning")
"""Areas in the order in which several processes take them: what takes long must not start last."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The order of the areas, where several processes take them."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: [*LONGEST, _area(item.nodeid)].index(_area(item.nodeid)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With several processes (`-n 2`), an area's tests share one and its session fixtures.

    By the tests' names: marks of groups (`--dist loadgroup`) are lost between xdist 3.8 and pytest 9.2, silently.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Areas(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _area(nodeid)

    config.option.loadscopereorder = False
    return Areas(config, log)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write what coverage measured: a worker of xdist that has not ended ten seconds after its last test is killed."""
    coverage = sys.modules.get("coverage")
    if coverage is not None and hasattr(session.config, "workerinput"):
        measured = coverage.Coverage.current()
        if measured is not None:
            measured.save()


def _area(nodeid: str) -> str:
    area = nodeid.removeprefix("tests/").split("/")[0]
    return "packaging" if area == "docs" else area  # both install distributions


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of this repository."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of data that may be used but not redistributed (CC BY-NC), beside the repository."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"needs data that cannot be redistributed, in {folder}")
    return folder


@pytest.fixture
def nnunet_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder with nnU-Net's three folders raw, preprocessed and results, which its variables name."""
    for name in ("raw", "preprocessed", "results"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))
    return tmp_path
