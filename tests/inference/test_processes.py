"""Whole runs in processes of their own: killed and taken up again; memory that does not follow the number of cases."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nnunetv2_textguided.errors import TextGuidedError
from nnunetv2_textguided.inference import predictor, run
from nnunetv2_textguided.inference.cases import remove_leftovers
from nnunetv2_textguided.inference.options import WorkOptions
from nnunetv2_textguided.inference.prepare import prepare_case
from nnunetv2_textguided.inference.progress import WindowProgress
from nnunetv2_textguided.inference.run import Summary, export_case
from nnunetv2_textguided.processes import background
from nnunetv2_textguided.processes.background import Workers
from tests.conftest import REPOSITORY
from tests.inference.conftest import read
from tests.inference.models import Model

Predict = Callable[..., Summary]


def environment() -> dict[str, str]:
    search = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": search, "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_a_killed_run_leaves_whole_files_and_is_taken_up_again(
    predict: Predict, model: Model, images: Path, tmp_path: Path
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for number in range(12):
        for channel in range(3):
            shutil.copyfile(images / f"ball_0_{channel:04d}.nii.gz", source / f"case_{number:02d}_{channel:04d}.nii.gz")
    words = ["predict", "-i", str(source), "-o", str(out), "-m", str(model.folder), "-f", "0", "--device", "cpu"]
    words += ["--heatmaps", "--candidates", "mask", "--disable_tta", "-npp", "0", "-nps", "0"]
    command = [sys.executable, "-m", "nnunetv2_textguided.cli", *words]
    running = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 300
    while not list(out.glob("case_*.nii.gz")):
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    done = {path.name.split(".")[0]: path.stat().st_mtime_ns for path in out.glob("case_*.nii.gz")}
    assert 1 <= len(done) < 12

    resumed = predict(source, heatmaps=True, work=WorkOptions(0, 0, continued=True))
    assert set(resumed.predicted) == {f"case_{number:02d}" for number in range(12)} - set(done)
    assert resumed.skipped == len(done)
    assert all((out / f"{name}.nii.gz").stat().st_mtime_ns == before for name, before in done.items())
    masks = [read(path) for path in sorted(out.glob("*.nii.gz"))]
    maps = [read(path) for path in sorted((out / "heatmaps" / "csPCa").glob("*.nii.gz"))]
    for found in (masks, maps):
        assert len(found) == 12
        assert all(np.array_equal(one, found[0]) for one in found)
    assert len((out / "cases.csv").read_text().splitlines()) == 13
    assert not [path for path in out.iterdir() if path.is_dir() and path.name.startswith(".")]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_the_command_and_its_processes(
    images: Path, model: Model, tmp_path: Path, number: signal.Signals
) -> None:
    """Started as a shell's script starts what is followed by &: with SIGINT ignored."""
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for case in range(400):
        for channel in range(3):
            (source / f"case_{case:03d}_{channel:04d}.nii.gz").symlink_to(images / f"none_1_{channel:04d}.nii.gz")
    words = ["predict", "-i", str(source), "-o", str(out), "-m", str(model.folder), "--device", "cpu", "-f", "0"]
    command = [sys.executable, "-m", "nnunetv2_textguided.cli", *words, "-npp", "2", "-nps", "2"]
    script = f"trap '' INT; exec {shlex.join(command)}"
    running = subprocess.Popen(
        ["sh", "-c", script], env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 300
        while not list(out.glob("case_*.nii.gz")):
            assert running.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(running.pid, number)
        status = running.wait(15)
        assert status == (-number if number == signal.SIGKILL else 130)
        deadline = time.monotonic() + 15
        while in_group(running.pid):
            assert time.monotonic() < deadline, "a process of the command lives on"
            time.sleep(0.2)
        if number != signal.SIGKILL:
            assert running.stderr is not None
            assert running.stderr.read().splitlines()[-1] == "interrupted"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
    assert len(list(out.glob("case_*.nii.gz"))) < 400


def in_group(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_leftovers_of_other_parts_cases_stay(tmp_path: Path) -> None:
    for name in (".a.x1y2z3_4.partial", ".a.b.x1y2z3_4.partial", ".c.x1y2z3_4.partial", ".a.partial"):
        (tmp_path / name / "heatmaps").mkdir(parents=True)
    remove_leftovers(tmp_path, {"a", "b"})
    assert {path.name for path in tmp_path.iterdir()} == {
        ".a.b.x1y2z3_4.partial", ".c.x1y2z3_4.partial", ".a.partial"
    }  # fmt: skip
    remove_leftovers(tmp_path / "absent", {"a"})


def die_of_two(item: int) -> int:
    """Work whose process is killed, as for lack of memory, by one of the items."""
    if item == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def test_a_process_that_dies_takes_no_more_with_it_than_what_was_in_work() -> None:
    done, lost = [], {}
    with background.workers(die_of_two, 1) as pool:
        for item, pending in pool.ahead(range(6)):
            try:
                done.append(pending.result())
            except TextGuidedError as error:
                lost[item] = str(error)
    assert "background process died" in lost[2]
    assert len(lost) <= 2
    assert done == [item for item in range(6) if item not in lost]


class Terminal(io.StringIO):
    """A stream that says that it is a terminal, or not."""

    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self.is_terminal = is_terminal

    def isatty(self) -> bool:
        return self.is_terminal


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_counts_the_windows_of_all_folds(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    stream = Terminal(terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    progress = WindowProgress()
    progress.step()  # nobody looks: nothing is shown
    with progress.of("case_7", folds=2, delay=0):
        for _ in range(2):
            progress.expect(3)  # each fold says how many windows it has
            for _ in range(3):
                progress.step()
        bar = progress.bar
        assert bar is not None
        assert (bar.n, bar.total, bar.desc) == (6, 6, "case_7")
        bar.refresh()
        assert "case_7: 100%" in stream.getvalue()
        assert "6/6" in stream.getvalue()
        assert bar.mininterval == (0.2 if terminal else 30)
    assert progress.bar is None


def test_the_predictor_tells_progress_every_window(
    predict: Callable[..., Summary], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two folds, mirrored, on cases of several windows: as many steps as there were announced."""
    ends: list[tuple[str, int, int]] = []

    class Watched(WindowProgress):
        @contextmanager
        def of(self, case: str, folds: int, delay: float = 2) -> Iterator[None]:
            with super().of(case, folds, delay):
                yield
                assert self.bar is not None
                ends.append((case, self.bar.n, self.bar.total))

    monkeypatch.setattr(predictor, "WindowProgress", Watched)
    predict(folds=(0, 1), mirroring=True)
    assert [case for case, _, _ in ends] == ["ball_0", "none_1"]
    assert all(steps == announced > 2 for _, steps, announced in ends)


class Lazy:
    """A pool whose processes are infinitely slow: work is done when its result is waited for."""

    def __init__(self) -> None:
        self.waiting, self.most = 0, 0

    def submit(self, function: Callable[[Any], Any], item: Any) -> Any:
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        held = [item]  # a real pool's future does not hold what it was asked for once that is done

        def result() -> Any:
            self.waiting -= 1
            return function(held.pop())

        return SimpleNamespace(result=result)

    def shutdown(self, **_: Any) -> None:
        assert self.waiting == 0


@pytest.mark.parametrize(("preprocessing", "export"), [(0, 0), (2, 1), (1, 3)])
def test_memory_does_not_follow_the_number_of_cases(
    predict: Predict, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preprocessing: int, export: int
) -> None:
    """The volumes that are alive at once, whatever the speed of reading, computing and writing."""
    for number in range(12):
        for channel in range(3):
            (tmp_path / "in").mkdir(exist_ok=True)
            file = tmp_path / "in" / f"case_{number:02d}_{channel:04d}.nii.gz"
            file.symlink_to(images / f"none_1_{channel:04d}.nii.gz")
    volumes: dict[str, list[weakref.ref[np.ndarray]]] = {"read": [], "predicted": []}
    most = dict.fromkeys(volumes, 0)
    pools: list[Lazy] = []

    def see(kind: str, volume: np.ndarray) -> None:
        volumes[kind].append(weakref.ref(volume))
        most[kind] = max(most[kind], sum(one() is not None for one in volumes[kind]))

    def prepare(case: Any, **options: Any) -> Any:
        prepared = prepare_case(case, **options)
        see("read", prepared.data)
        return prepared

    def write(exporter: Any, item: Any) -> Any:
        see("predicted", item[1])
        return export_case(exporter, item)

    class Slow(Workers):
        def __init__(self, function: Callable[[Any], Any], count: int) -> None:
            super().__init__(function, 0)
            self._count = count
            if count:
                pools.append(Lazy())
                self._pool = pools[-1]

    monkeypatch.setattr(run, "prepare_case", prepare)
    monkeypatch.setattr(run, "export_case", write)
    monkeypatch.setattr(background, "Workers", Slow)
    summary = predict(tmp_path / "in", heatmaps=True, work=WorkOptions(preprocessing, export))
    assert len(summary.predicted) == 12
    assert len(volumes["read"]) == len(volumes["predicted"]) == 12
    # The one in work, and the one that it replaces.
    assert most["read"] <= 2
    assert most["predicted"] <= 2
    limits = [limit for limit in (preprocessing + 1, 2 * export + 1) if limit > 1]
    assert [pool.most for pool in pools] == limits


@pytest.mark.slow
def test_an_error_stands_alone_and_foreign_noise_goes_into_the_log(images: Path, model: Model, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "nnunetv2_textguided.cli", "predict", "-i", str(images), "-o", str(out)]
    command += ["-m", str(model.folder), "--device", "cpu", "--disable_tta", "-f"]

    def run_it(fold: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, fold], env=environment(), capture_output=True, text=True, check=False)

    failed = run_it("3")
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert failed.stderr.startswith("error: ")
    assert not out.exists()

    done = run_it("0")  # with processes that load the same libraries
    assert done.returncode == 0
    said = done.stdout.splitlines()
    assert [line.split(" ")[0].rstrip(",") for line in said] == ["2", "ball_0", "none_1", "2"]
    assert "Warning" not in done.stderr
    log = (out / "predict.log").read_text().splitlines()
    assert len(log) == len(set(log))
    assert any("Searching" in line or "trainer" in line for line in log)
