"""No training is in two hands, and none stays in dead ones."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nnunetv2_textguided.benchmark import job
from nnunetv2_textguided.benchmark.lock import holder, try_lock
from tests.benchmark.processes import wait_for, wait_until_gone
from tests.conftest import REPOSITORY

LOCKER = """
import os, subprocess, sys, time
from nnunetv2_textguided.benchmark.lock import try_lock
lock = try_lock(__import__("pathlib").Path(sys.argv[1]))
quiet = {"stdout": subprocess.DEVNULL, "pass_fds": (lock,)}
child = subprocess.Popen(["sleep", "600"], **quiet) if len(sys.argv) > 2 else None
print(child.pid if child else 0, flush=True)
time.sleep(600)
"""


def start_locker(path: Path, *more: str) -> tuple[subprocess.Popen[str], int]:
    words = [sys.executable, "-c", LOCKER, str(path), *more]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def test_a_lock_is_held_until_it_is_released(tmp_path: Path) -> None:
    path = tmp_path / "fold_0" / "benchmark.lock"
    lock = try_lock(path)
    assert lock is not None
    assert try_lock(path) is None
    assert holder(path).startswith(f"process {os.getpid()} on ")
    os.close(lock)
    again = try_lock(path)
    assert again is not None
    os.close(again)


def test_a_killed_holders_lock_is_free_at_once(tmp_path: Path) -> None:
    path = tmp_path / "benchmark.lock"
    process, _ = start_locker(path)
    assert try_lock(path) is None
    process.kill()
    process.wait()
    lock = try_lock(path)
    assert lock is not None
    os.close(lock)


def test_a_lock_lives_as_long_as_the_training_of_a_dead_job(tmp_path: Path) -> None:
    path = tmp_path / "benchmark.lock"
    process, child = start_locker(path, "with a training")
    process.kill()
    process.wait()
    assert try_lock(path) is None
    os.kill(child, signal.SIGKILL)
    wait_until_gone([child])
    lock = try_lock(path)
    assert lock is not None
    os.close(lock)


def test_a_file_system_without_locks_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert job._wait_for_lock(tmp_path / "benchmark.lock", lambda: None) == -1
    assert "cannot be locked" in capsys.readouterr().out


def _race(folder: Path, start: object) -> None:
    start.wait()  # type: ignore[attr-defined]
    for _ in range(30):
        lock = try_lock(folder / "benchmark.lock")
        if lock is not None:
            for word in ("in", "out"):
                with (folder / "wins.txt").open("a") as file:
                    file.write(f"{word}\n")
                time.sleep(0.003)
            os.close(lock)
        time.sleep(0.001)


def test_of_many_workers_at_once_one_at_a_time_gets_the_lock(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start = context.Event()
    workers = [context.Process(target=_race, args=(tmp_path, start)) for _ in range(6)]
    for worker in workers:
        worker.start()
    start.set()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    lines = (tmp_path / "wins.txt").read_text().splitlines()
    assert len(lines) >= 2
    assert lines == ["in", "out"] * (len(lines) // 2)


SPAWNER = """
import json, subprocess, sys, time
helper = subprocess.Popen(["sleep", "600"])
open(sys.argv[1], "w").write(json.dumps([helper.pid]))
time.sleep(float(sys.argv[2]))
sys.exit(3)
"""


def start_keeper(tmp_path: Path, seconds: float) -> tuple[subprocess.Popen[bytes], list[int]]:
    pids = tmp_path / "pids.json"
    words = [sys.executable, "-c", SPAWNER, str(pids), str(seconds)]
    keeper = subprocess.Popen(
        [sys.executable, "-m", "nnunetv2_textguided.processes.keeper", str(tmp_path / "report.json"), *words],
        stdin=subprocess.PIPE,
        start_new_session=True,
        cwd=REPOSITORY,
    )
    wait_for(lambda: pids.is_file() and pids.read_text())
    return keeper, json.loads(pids.read_text())


def test_the_keeper_reports_and_leaves_nothing_behind(tmp_path: Path) -> None:
    keeper, pids = start_keeper(tmp_path, 0.0)
    keeper.wait(timeout=120)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["status"] == 3
    assert report["peak_resident_bytes"] > 1e6
    wait_until_gone(pids)


def test_the_keepers_group_goes_with_its_owner(tmp_path: Path) -> None:
    keeper, pids = start_keeper(tmp_path, 600.0)
    assert keeper.stdin is not None
    keeper.stdin.close()  # what the system does when the owner dies
    keeper.wait(timeout=120)
    wait_until_gone(pids)
    assert not (tmp_path / "report.json").exists()
