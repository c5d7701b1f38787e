"""No training is in two hands, and none stays in dead ones."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from nnunetv2_textguided.benchmark import claim as module
from nnunetv2_textguided.benchmark.claim import Claim, Holder, find_holder, take_claim
from tests.benchmark.processes import wait_for, wait_until_gone
from tests.conftest import REPOSITORY


def dead_process() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def write(folder: Path, holder: Holder, number: int = 1) -> Path:
    path = folder / f"benchmark_claim.{number}"
    path.write_text(json.dumps(asdict(holder)))
    return path


@pytest.fixture
def mine(tmp_path: Path) -> Holder:
    claim = take_claim(tmp_path / "other")
    assert isinstance(claim, Claim)
    return claim.holder


def test_a_claim_is_held_until_it_is_released(tmp_path: Path) -> None:
    claim = take_claim(tmp_path / "fold_0")
    assert isinstance(claim, Claim)
    refused = take_claim(tmp_path / "fold_0")
    assert isinstance(refused, Holder)
    assert refused.pids == (os.getpid(),)
    assert str(os.getpid()) in str(find_holder(tmp_path / "fold_0"))
    claim.release()
    assert find_holder(tmp_path / "fold_0") is None
    assert isinstance(take_claim(tmp_path / "fold_0"), Claim)


def test_a_dead_workers_claim_is_taken_over(tmp_path: Path, mine: Holder) -> None:
    write(tmp_path, replace(mine, pids=(dead_process(),), token="dead"))
    claim = take_claim(tmp_path)
    assert isinstance(claim, Claim)
    assert [p.name for p in tmp_path.glob("benchmark_claim.*")] == ["benchmark_claim.2"]


def test_a_process_number_that_was_given_again_is_not_the_worker(tmp_path: Path, mine: Holder) -> None:
    write(tmp_path, replace(mine, started=("0",), token="dead"))
    assert isinstance(take_claim(tmp_path), Claim)


def test_a_claim_lives_as_long_as_the_training_of_a_dead_worker(tmp_path: Path, mine: Holder) -> None:
    claim = take_claim(tmp_path)
    assert isinstance(claim, Claim)
    training = subprocess.Popen(["sleep", "60"])
    claim.include(training.pid)
    content = json.loads(claim.path.read_text())
    worker, child = content["pids"]
    claim.path.write_text(json.dumps({**content, "pids": [dead_process(), child]}))
    assert worker == os.getpid()
    assert isinstance(take_claim(tmp_path), Holder)
    training.kill()
    training.wait()
    assert isinstance(take_claim(tmp_path), Claim)


@pytest.mark.parametrize("other", [{"host": "elsewhere"}, {"namespace": "pid:[1]"}], ids=["machine", "container"])
def test_a_claim_of_another_machine_is_dead_when_it_was_not_touched_for_long(
    tmp_path: Path, mine: Holder, other: dict[str, str]
) -> None:
    path = write(tmp_path, replace(mine, token="other", pids=(dead_process(),), **other))
    assert isinstance(take_claim(tmp_path), Holder)
    os.utime(path, (time.time() - module.STALE_SECONDS - 10,) * 2)
    assert isinstance(take_claim(tmp_path), Claim)


def test_a_beat_keeps_a_claim_fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.0)
    claim = take_claim(tmp_path)
    assert isinstance(claim, Claim)
    os.utime(claim.path, (0, 0))
    claim.beat()
    assert time.time() - claim.path.stat().st_mtime < 100


def test_a_file_system_without_hard_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    claim = take_claim(tmp_path)
    assert isinstance(claim, Claim)
    assert isinstance(take_claim(tmp_path), Holder)
    claim.release()
    assert isinstance(take_claim(tmp_path), Claim)


def test_half_a_claim_is_none(tmp_path: Path) -> None:
    (tmp_path / "benchmark_claim.1").write_text('{"host": "x", "pids": [1')
    assert isinstance(take_claim(tmp_path), Claim)


def _race(folder: Path, start: object, wins: object) -> None:
    start.wait()  # type: ignore[attr-defined]
    for _ in range(30):
        claim = take_claim(folder)
        if isinstance(claim, Claim):
            with (folder / "wins.txt").open("a") as file:
                file.write("in\n")
            time.sleep(0.003)
            with (folder / "wins.txt").open("a") as file:
                file.write("out\n")
            claim.release()
            wins.release()  # type: ignore[attr-defined]
        time.sleep(0.001)


def test_of_many_workers_at_once_one_at_a_time_gets_the_claim(tmp_path: Path, mine: Holder) -> None:
    write(tmp_path, replace(mine, pids=(dead_process(),), token="dead"), number=7)
    context = multiprocessing.get_context("fork")
    start, wins = context.Event(), context.Semaphore(0)
    workers = [context.Process(target=_race, args=(tmp_path, start, wins)) for _ in range(6)]
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
        [sys.executable, "-m", "nnunetv2_textguided.benchmark.keeper", str(tmp_path / "report.json"), *words],
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
