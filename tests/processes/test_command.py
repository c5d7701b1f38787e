"""A command that is shown with a progress bar ends with its owner, however that dies, and says how it failed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nnunetv2_textguided.processes.command import CommandError, run_command
from tests.benchmark.processes import wait_for, wait_until_gone

CHILD = """
import json, os, subprocess, sys, time
helper = subprocess.Popen(["sleep", "600"])
open(sys.argv[1] + ".partial", "w").write(json.dumps([os.getpid(), helper.pid]))
os.rename(sys.argv[1] + ".partial", sys.argv[1])
time.sleep(600)
"""
OWNER = """
import os, sys
from pathlib import Path
from nnunetv2_textguided.processes.command import run_command
from nnunetv2_textguided.processes.interrupts import interruptible
with interruptible():
    run_command(["python", "-c", sys.argv[1], sys.argv[2]], environment=dict(os.environ), log=Path(sys.argv[3]),
                title="child", total=1, progress=lambda: (0, ""))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_lives_on(tmp_path: Path, number: signal.Signals) -> None:
    pids, log = tmp_path / "pids.json", tmp_path / "child.log"
    search = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    with (tmp_path / "owner.log").open("wb") as output:
        owner = subprocess.Popen(
            [sys.executable, "-c", OWNER, CHILD, str(pids), str(log)],
            env={**os.environ, "PYTHONPATH": search},
            stderr=output,
            start_new_session=True,
        )
    wait_for(pids.is_file, 60)
    owner.send_signal(number)
    assert owner.wait(timeout=15) != 0
    wait_until_gone(json.loads(pids.read_text()))


def test_a_failure_is_told_with_the_commands_last_lines(tmp_path: Path) -> None:
    words = ["python", "-c", "print('why it failed'); raise SystemExit(3)"]
    with pytest.raises(CommandError, match=r"(?s)python failed with exit status 3.*why it failed"):
        run_command(words, environment=dict(os.environ), log=tmp_path / "log", title="c", total=1,
                    progress=lambda: (0, ""))  # fmt: skip
    seconds = run_command(["python", "-c", "print(1)"], environment=dict(os.environ), log=tmp_path / "log", title="c",
                          total=1, progress=lambda: (0, ""))  # fmt: skip
    assert 0 < seconds < 60
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
