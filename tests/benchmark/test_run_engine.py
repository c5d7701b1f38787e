"""Jobs that are killed, trainings that fail, two runs at once: everything around nnU-Net's command, without it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nnunetv2_textguided.benchmark.engine import EngineOptions, engine_command, gpu_slots
from nnunetv2_textguided.benchmark.lock import NAME as LOCK
from nnunetv2_textguided.benchmark.lock import try_lock
from nnunetv2_textguided.benchmark.record import NAME
from nnunetv2_textguided.errors import DataError
from tests.benchmark.processes import runs, wait_for, wait_until_gone
from tests.conftest import REPOSITORY

DATASET = "Dataset905_StandIn"
PROGRAM = (sys.executable, str(Path(__file__).parent / "stand_in.py"))
RUN = """
import json, sys
from pathlib import Path
from nnunetv2_textguided.benchmark.engine import EngineOptions
from nnunetv2_textguided.benchmark.facts import ModelFacts
from nnunetv2_textguided.benchmark.run import RunOptions, run_study
from nnunetv2_textguided.benchmark.study import Study
results, trainers, folds, device, jobs, program = json.loads(sys.argv[1])
study = Study("Dataset905_StandIn", "3d_fullres", tuple(trainers), folds=tuple(folds))
facts = dict.fromkeys(study.variants, ModelFacts(1, 1, 1, 2, (8, 32, 32), 10, 1e6, None, "p", "c", "s", None))
options = RunOptions(EngineOptions(), device, jobs=jobs, program=tuple(program))
sys.exit(run_study(study, Path(results), facts, dict.fromkeys(folds, ("case_0",)), options))
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class Runs:
    """Starts runs in one folder of results."""

    def __init__(self, root: Path) -> None:
        self.root, self.results = root, root / "results"
        search = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
        folders = {f"nnUNet_{name}": str(root / name) for name in ("raw", "preprocessed", "results")}
        self.environment = {**os.environ, **folders, "PYTHONPATH": search}

    def words(self, *trainers: str, folds: tuple[int, ...] = (0,), device: str = "cpu", jobs: int = 2) -> list[str]:
        given = json.dumps([str(self.results), trainers, folds, device, jobs, PROGRAM])
        return [sys.executable, "-c", RUN, given]

    def run(self, *trainers: str, **options: object) -> subprocess.CompletedProcess[str]:
        words = self.words(*trainers, **options)  # type: ignore[arg-type]
        return subprocess.run(words, env=self.environment, capture_output=True, text=True, cwd=REPOSITORY)

    def start(self, words: list[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            words, env=self.environment, cwd=REPOSITORY, start_new_session=True, stdout=subprocess.DEVNULL
        )

    def folder(self, trainer: str, fold: int = 0) -> Path:
        return self.results / DATASET / f"{trainer}__nnUNetPlans__3d_fullres" / f"fold_{fold}"

    def calls(self, trainer: str, fold: int = 0) -> int:
        return len((self.folder(trainer, fold) / "calls.txt").read_text().splitlines())

    def outcomes(self, trainer: str) -> list[str]:
        record = json.loads((self.folder(trainer) / NAME).read_text())
        return [attempt["outcome"] for attempt in record["attempts"]]

    def left(self, trainer: str) -> list[int]:
        """What a training started; waits until it has."""
        path = self.folder(trainer) / "left_behind.json"
        wait_for(path.is_file)
        pids: list[int] = json.loads(path.read_text())
        return pids


@pytest.fixture
def engine(nnunet_folders: Path) -> Runs:
    pytest.importorskip("snakemake")
    pytest.importorskip("rich")
    return Runs(nnunet_folders)


def test_killed_jobs_are_replaced_and_errors_are_told(engine: Runs) -> None:
    trainers = ("Good", "KilledOnce", "WorkerKilledOnce", "KilledAlways", "Broken", "Forgetful")
    done = engine.run(*trainers)
    assert done.returncode == 1
    assert "3 done, 3 failed" in done.stdout
    # A killed process is no error of the training's: two retries. An error before any progress would only come again.
    assert [engine.calls(trainer) for trainer in trainers] == [1, 2, 2, 3, 1, 1]
    paragraphs = dict(zip(trainers[3:], done.stderr.split("FAILED ")[1:], strict=True))
    assert "after 3 tries: killed by SIGKILL" in paragraphs["KilledAlways"]
    assert "about to be killed" in paragraphs["KilledAlways"]
    assert "exit status 1: ValueError: these plans make no sense" in paragraphs["Broken"]
    assert str(engine.folder("Broken") / "benchmark_output.txt") in paragraphs["Broken"]
    assert "without checkpoint_final.pth" in paragraphs["Forgetful"]
    # What the lost job had started is gone, too.
    wait_until_gone(engine.left("WorkerKilledOnce"))
    assert engine.outcomes("WorkerKilledOnce") == ["worker lost", "finished"]
    assert engine.outcomes("KilledOnce") == ["killed by SIGKILL", "finished"]
    record = json.loads((engine.folder("KilledOnce") / NAME).read_text())
    assert record["peak_resident_bytes"] > 1e6
    assert record["wall_seconds"] >= 0
    assert record["attempts"][0]["hardware"]["cores"] >= 1

    # Again: what is done is left alone.
    assert engine.run(*trainers[:3]).returncode == 0
    assert [engine.calls(trainer) for trainer in trainers[:3]] == [1, 2, 2]


def test_a_killed_engine_takes_its_trainings_along_and_the_next_run_goes_on(engine: Runs) -> None:
    assert engine.run("EngineKilledOnce").returncode == 1
    wait_until_gone(engine.left("EngineKilledOnce"))
    assert engine.run("EngineKilledOnce").returncode == 0
    assert engine.calls("EngineKilledOnce") == 2
    assert engine.outcomes("EngineKilledOnce") == ["worker lost", "finished"]


def test_a_run_that_was_killed_while_a_training_validated_goes_on_with_all_of_them(engine: Runs) -> None:
    trainers = ("EngineKilledValidating", "Slow", "Good")
    assert engine.run(*trainers, jobs=1).returncode != 0
    folder = engine.folder("EngineKilledValidating")
    assert (folder / "checkpoint_final.pth").is_file()
    assert not (folder / "validation" / "summary.json").exists()
    again = engine.run(*trainers, jobs=1)
    assert again.returncode == 0, again.stdout + again.stderr
    assert [engine.calls(trainer) for trainer in trainers] == [2, 1, 1]
    assert "--val" in (folder / "calls.txt").read_text().splitlines()[1]


def test_a_killed_run_leaves_nothing_behind(engine: Runs) -> None:
    process = engine.start(engine.words("Endless"))
    pids = engine.left("Endless")
    process.kill()
    process.wait()
    wait_until_gone(pids)


def test_two_runs_at_once_train_everything_once(engine: Runs) -> None:
    words = engine.words("Slow", "Good", folds=(0, 1))
    processes = [engine.start(words) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    for trainer in ("Slow", "Good"):
        for fold in (0, 1):
            assert engine.calls(trainer, fold) == 1


def test_a_training_in_other_hands_is_waited_for(engine: Runs) -> None:
    lock = try_lock(engine.folder("Good") / LOCK)
    assert lock is not None
    process = engine.start(engine.words("Good"))
    log = engine.results / DATASET / "benchmark_workflow" / "snakemake.log"
    wait_for(lambda: log.is_file() and f"waiting for process {os.getpid()} on " in log.read_text())
    assert process.poll() is None
    os.close(lock)
    assert process.wait() == 0
    assert engine.calls("Good") == 1


def test_halves_are_set_aside_before_the_engine_takes_them_for_done(engine: Runs) -> None:
    folder = engine.folder("Good")
    (folder / "validation").mkdir(parents=True)
    (folder / "checkpoint_final.pth").write_bytes(b"PK\x03\x04half")
    (folder / "validation" / "summary.json").write_text('{"foreground_mean"')
    assert engine.run("Good").returncode == 0
    assert engine.calls("Good") == 1
    assert (folder / "checkpoint_final.pth.damaged").is_file()
    assert (folder / "validation" / "summary.json.damaged").is_file()


def test_every_slot_has_its_gpu(engine: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, 6,7")
    assert gpu_slots(None, None) == ("4", "6", "7")
    assert gpu_slots(2, 4) == ("4", "6", "4", "6")
    with pytest.raises(DataError, match="4 GPUs wanted, 3 visible"):
        gpu_slots(4, None)
    engine.environment["CUDA_VISIBLE_DEVICES"] = "4,6"
    assert engine.run("Slow", "Slow2", device="cuda").returncode == 0
    printed = {
        (engine.folder(trainer) / "benchmark_output.txt").read_text().split()[-1] for trainer in ("Slow", "Slow2")
    }
    assert printed == {"4", "6"}


def test_options_of_slurm_reach_the_engine(tmp_path: Path) -> None:
    options = EngineOptions("slurm", 2, hours=2.0, cpus=5, sbatch={"partition": "long", "gres": "gpu:a100:1"})
    words = engine_command(tmp_path / "study.json", options)
    assert words[words.index("--executor") + 1 :][:3] == ["slurm", "--jobs", "2"]
    defaults = words[words.index("--default-resources") + 1 :]
    assert defaults == ["runtime=120", "cpus_per_task=5", "slurm_partition=long", "slurm_extra='--gres=gpu:a100:1'"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("background", [False, True], ids=["terminal", "background of a script"])
@pytest.mark.parametrize("group", [False, True], ids=["process", "group"])
def test_an_interrupted_run_ends_its_trainings(
    engine: Runs, number: signal.Signals, background: bool, group: bool
) -> None:
    words = engine.words("Endless")
    if background:  # a shell has what its scripts start with & ignore SIGINT
        words = ["bash", "-c", 'trap "" INT; exec "$@"', "bash", *words]
    process = engine.start(words)
    pids = engine.left("Endless")
    time.sleep(1)
    (os.killpg if group else os.kill)(process.pid, number)
    started = time.monotonic()
    process.wait(timeout=15)
    assert time.monotonic() - started < 15
    assert process.returncode not in (0, None)
    assert not any(map(runs, pids))
    time.sleep(3)
    assert engine.calls("Endless") == 1, "no job starts the training again"
    assert engine.outcomes("Endless") == ["interrupted"]
