"""Workers that are killed, trainings that fail, two runs at once: everything around nnU-Net's command, without it."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from nnunetv2_textguided.benchmark.claim import find_holder, take_claim
from nnunetv2_textguided.benchmark.coordinator import Coordinator, State, Status
from nnunetv2_textguided.benchmark.facts import ModelFacts
from nnunetv2_textguided.benchmark.pool import Pool, PoolOptions, local_slots
from nnunetv2_textguided.benchmark.record import NAME
from nnunetv2_textguided.benchmark.study import Cell, Study
from nnunetv2_textguided.errors import DataError
from tests.benchmark.processes import wait_for, wait_until_gone
from tests.conftest import REPOSITORY
from tests.inference.test_jobs import SLURM

DATASET = "Dataset905_StandIn"
PROGRAM = (sys.executable, str(Path(__file__).parent / "stand_in.py"))
FACTS = ModelFacts(1, 1, 1, 2, (8, 32, 32), 10, 1e6, None, "p", "c", "s", None)

pytestmark = pytest.mark.slow


class Shown:
    """A display that keeps all texts."""

    def __init__(self) -> None:
        self.texts: set[str] = set()

    def update(self, statuses: Mapping[Cell, Status]) -> None:
        self.texts |= {status.text for status in statuses.values()}


@pytest.fixture(autouse=True)
def _children_find_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    search = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    monkeypatch.setenv("PYTHONPATH", search)


@pytest.fixture
def coordinator(nnunet_folders: Path) -> Callable[..., Coordinator]:
    def make(*trainers: str, folds: tuple[int, ...] = (0,), options: PoolOptions | None = None) -> Coordinator:
        study, results = Study(DATASET, "3d_fullres", trainers, folds=folds), nnunet_folders / "results"
        pool = Pool(options or PoolOptions(device="cpu", slots=(None, None)), results / DATASET / ".benchmark_jobs")
        cases = dict.fromkeys(folds, ("case_0",))
        return Coordinator(study, results, dict.fromkeys(study.variants, FACTS), cases, pool, program=PROGRAM)

    return make


def folder(run: Coordinator, trainer: str, fold: int = 0) -> Path:
    return run.results / DATASET / f"{trainer}__nnUNetPlans__3d_fullres" / f"fold_{fold}"


def calls(run: Coordinator, trainer: str, fold: int = 0) -> int:
    return len((folder(run, trainer, fold) / "calls.txt").read_text().splitlines())


def states(run: Coordinator) -> dict[str, State]:
    return {cell.variant.trainer: status.state for cell, status in run.statuses.items()}


def test_killed_workers_are_replaced_and_errors_are_told(coordinator: Callable[..., Coordinator]) -> None:
    trainers = ("Good", "KilledOnce", "WorkerKilledOnce", "KilledAlways", "Broken", "Forgetful")
    run, shown = coordinator(*trainers), Shown()
    run.run(shown)
    done, failed = State.DONE, State.FAILED
    assert list(states(run).values()) == [done, done, done, failed, failed, failed]
    # A killed process is no error of the training's: two retries. An error before any progress would only come again.
    assert [calls(run, trainer) for trainer in trainers] == [1, 2, 2, 3, 1, 1]
    assert "starting, retry 1 of 2: killed by SIGKILL" in shown.texts
    paragraphs = dict(zip(trainers[3:], run.failures(), strict=True))
    assert "killed by SIGKILL" in paragraphs["KilledAlways"]
    assert "about to be killed" in paragraphs["KilledAlways"]
    assert "exit status 1: ValueError: these plans make no sense" in paragraphs["Broken"]
    assert str(folder(run, "Broken") / "benchmark_output.txt") in paragraphs["Broken"]
    assert "without checkpoint_final.pth" in paragraphs["Forgetful"]
    # What the lost worker had started is gone, too.
    wait_until_gone(json.loads((folder(run, "WorkerKilledOnce") / "left_behind.json").read_text()))
    record = json.loads((folder(run, "WorkerKilledOnce") / NAME).read_text())
    assert [attempt["outcome"] for attempt in record["attempts"]] == ["worker lost", "finished"]
    record = json.loads((folder(run, "KilledOnce") / NAME).read_text())
    assert [attempt["outcome"] for attempt in record["attempts"]] == ["killed by SIGKILL", "finished"]
    assert record["peak_resident_bytes"] > 1e6
    assert record["wall_seconds"] >= 0
    assert record["attempts"][0]["hardware"]["cores"] >= 1

    # Again: what is done is left alone, what failed is tried anew.
    again = coordinator(*trainers[:3])
    again.run(Shown())
    assert all(status.before for status in again.statuses.values())
    assert [calls(run, trainer) for trainer in trainers[:3]] == [1, 2, 2]


def test_a_preempted_job_goes_on_and_that_is_no_failure(coordinator: Callable[..., Coordinator]) -> None:
    run = coordinator("PreemptedOnce")
    (status,) = run.run(Shown()).values()
    assert (status.state, status.tries) == (State.DONE, 0)
    assert calls(run, "PreemptedOnce") == 2
    wait_until_gone(json.loads((folder(run, "PreemptedOnce") / "left_behind.json").read_text()))
    record = json.loads((folder(run, "PreemptedOnce") / NAME).read_text())
    assert [attempt["outcome"] for attempt in record["attempts"]] == ["interrupted", "finished"]


def test_two_runs_at_once_train_everything_once(coordinator: Callable[..., Coordinator]) -> None:
    runs = [coordinator("Slow", "Good", folds=(0, 1)) for _ in range(2)]
    shown = [Shown(), Shown()]
    threads = [threading.Thread(target=run.run, args=(s,)) for run, s in zip(runs, shown, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for run in runs:
        assert set(states(run).values()) == {State.DONE}
    for trainer in ("Slow", "Good"):
        for fold in (0, 1):
            assert calls(runs[0], trainer, fold) == 1


def test_a_training_in_other_hands_is_waited_for(coordinator: Callable[..., Coordinator]) -> None:
    run, shown = coordinator("Good"), Shown()
    claim = take_claim(folder(run, "Good"))
    timer = threading.Timer(5.0, claim.release)  # type: ignore[union-attr]
    timer.start()
    run.run(shown)
    assert any(text.startswith(f"elsewhere: process {os.getpid()} on ") for text in shown.texts)
    assert calls(run, "Good") == 1


def test_every_slot_has_its_gpu(coordinator: Callable[..., Coordinator], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, 6,7")
    assert local_slots("cuda", None, None) == ("4", "6", "7")
    assert local_slots("cuda", 2, 4) == ("4", "6", "4", "6")
    assert local_slots("cpu", None, 3) == (None, None, None)
    with pytest.raises(DataError, match="4 GPUs wanted, 3 visible"):
        local_slots("cuda", 4, None)
    with pytest.raises(DataError, match="goes with --device cuda"):
        local_slots("cpu", 1, None)
    run = coordinator("Good", "Slow", options=PoolOptions(device="cuda", slots=local_slots("cuda", 2, None)))
    run.run(Shown())
    printed = {(folder(run, trainer) / "benchmark_output.txt").read_text().split()[-1] for trainer in ("Good", "Slow")}
    assert printed == {"4", "6"}


def test_slurm_runs_the_trainings_as_an_array(
    coordinator: Callable[..., Coordinator], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in SLURM.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    options = PoolOptions("slurm", "cuda", (None, None), hours=2.0, cpus=5, sbatch={"partition": "long"})
    run = coordinator("Good", "Slow", options=options)
    run.run(Shown())
    assert set(states(run).values()) == {State.DONE}
    script = (tmp_path / "submitted.sh").read_text()
    for line in ("--array=0-1%2", "--time=120", "--partition=long", "--gres=gpu:1", "--cpus-per-task=5"):
        assert f"#SBATCH {line}" in script


@pytest.fixture(params=["in a terminal", "in a script's background"])
def started(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where a run was started: a shell has what its scripts start in the background ignore SIGINT."""
    handler = signal.SIG_IGN if request.param == "in a script's background" else signal.default_int_handler
    before = signal.signal(signal.SIGINT, handler)
    yield request.param
    assert signal.signal(signal.SIGINT, before) == handler


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("started")
def test_an_interrupted_run_ends_its_trainings(coordinator: Callable[..., Coordinator]) -> None:
    left = Path()

    class Interrupt(Shown):
        def update(self, statuses: Mapping[Cell, Status]) -> None:
            if left.is_file():
                raise KeyboardInterrupt

    run = coordinator("Endless")
    left = folder(run, "Endless") / "left_behind.json"
    with pytest.raises(KeyboardInterrupt):
        run.run(Interrupt())
    wait_until_gone(json.loads(left.read_text()))
    wait_for(lambda: find_holder(left.parent) is None)
