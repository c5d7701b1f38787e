"""`make test`: an area's tests share a process, and with it what its fixtures train."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict

import pytest

from tests.datasets import REPOSITORY


def test_an_area_is_one_process_s() -> None:
    pytest.importorskip("xdist")
    paths = ("tests/evaluation/test_score.py", "tests/losses/test_targets.py", "tests/evaluation/test_conventions.py")
    command = [sys.executable, "-m", "pytest", "-n", "2", "-v", "-p", "no:cacheprovider", *paths]
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr
    processes, tests = defaultdict(set), 0
    for process, area in re.findall(r"^\[(gw\d)\].*PASSED tests/(\w+)/", run.stdout, flags=re.MULTILINE):
        processes[area].add(process)
        tests += 1
    assert tests > 20, run.stdout
    assert {area: len(found) for area, found in processes.items()} == {"evaluation": 1, "losses": 1}
    assert processes["evaluation"] != processes["losses"], "both processes work"
