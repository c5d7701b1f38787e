"""kill -9 anywhere in a training, then --c: the result is that of a training that nobody killed, to the last bit."""

from __future__ import annotations

import csv
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.reliability.isolation import Isolation
from tests.reliability.pinned import fold_folder, train

Copy = Callable[[str], Path]
TIMES = ("epoch_start_timestamps", "epoch_end_timestamps")

# Each kind of place once; "half of" kills while a checkpoint is being written, with half of it on the disk.
PLACES = [
    "step of epoch 0, warm-up",
    "step of epoch 1, ramp",
    "step of epoch 2, align",
    "step of epoch 4, refine",
    "validation step of epoch 3",
    "half of checkpoint_latest.pth of epoch 0",
    "half of checkpoint_latest.pth of epoch 3",
    "half of checkpoint_best.pth of epoch 2",
    "half of checkpoint_final.pth of epoch 5",
    "before checkpoint_best of epoch 4",
    "after checkpoint_final of epoch 5",
    "before the validation",
    "export",
]
NORMAL = ["half of checkpoint_latest.pth of epoch 3", "before checkpoint_best of epoch 4", "export"]
BY_THE_CLOCK = 20


def facts(fold: Path) -> dict[str, Any]:
    """Everything that a training leaves behind, but for the time of day and where its folder is."""
    found: dict[str, Any] = {}
    for name in ("final", "best"):
        content = torch.load(fold / f"checkpoint_{name}.pth", weights_only=False)
        log = {key: value for key, value in content["logging"].items() if key not in TIMES}
        found |= {
            f"{name} weights": content["network_weights"],
            f"{name} momentum": content["optimizer_state"]["state"],
            f"{name} groups": content["optimizer_state"]["param_groups"],
            f"{name} log": log,
            f"{name} epochs": content["current_epoch"],
            f"{name} best EMA": content["_best_ema"],
            f"{name} settings": content["init_args"]["plans"]["configurations"]["3d_fullres"]["text_guidance"],
        }
    found["csv"] = list(csv.reader((fold / "text_guidance_log.csv").open()))
    found["validation"] = json.loads((fold / "validation" / "summary.json").read_text())["mean"]
    found["plans"] = json.loads((fold.parent / "plans.json").read_text())
    found["files"] = sorted(p.name for p in fold.iterdir() if "training_log" not in p.name)
    return found


def differing(here: Any, there: Any, path: str = "") -> list[str]:
    """Where two nested values differ in any bit (NaN equals NaN)."""
    pairs: list[tuple[Any, Any, Any]] = []
    if isinstance(here, dict) and isinstance(there, dict):
        pairs = [(key, here.get(key), there.get(key)) for key in sorted(here.keys() | there.keys(), key=str)]
    elif isinstance(here, (list, tuple)) and isinstance(there, (list, tuple)) and len(here) == len(there):
        pairs = [(i, a, b) for i, (a, b) in enumerate(zip(here, there, strict=True))]
    if pairs:
        return [line for key, a, b in pairs for line in differing(a, b, f"{path}/{key}")]
    if isinstance(here, torch.Tensor) and isinstance(there, torch.Tensor):
        return [] if torch.equal(here, there) else [path]
    return [] if repr(here) == repr(there) else [f"{path}: {here!r:.80} and {there!r:.80}"]


@pytest.fixture(scope="session")
def uninterrupted(planned_once: Path, tmp_path_factory: pytest.TempPathFactory, isolation: Isolation) -> Any:
    """What a training that nobody kills leaves behind, and how long it took."""
    import shutil

    root = tmp_path_factory.mktemp("uninterrupted") / "run"
    shutil.copytree(planned_once, root, ignore=shutil.ignore_patterns("child_*"))
    (root / "results").mkdir(exist_ok=True)
    start = time.monotonic()
    isolation.run(root, train, 0, False)
    return facts(fold_folder(root)), time.monotonic() - start


def kill_and_continue(isolation: Isolation, root: Path, place: str | float) -> None:
    """Kill a training at a place, or after so many seconds, and continue it to its end."""
    if isinstance(place, str):
        child = isolation.start(root, train, 0, False, place)
        assert child.finish() == -9, f"came to its end without {place!r}:\n{child.output[-2000:]}"
    else:
        child = isolation.start(root, train, 0, False)
        child.process.join(place)
        child.kill()
    # Killed before it had begun, there is nothing to continue.
    isolation.run(root, train, 0, True)


def check(isolation: Isolation, copy_planned: Copy, uninterrupted: Any, place: str | float) -> None:
    root = copy_planned("killed")
    kill_and_continue(isolation, root, place)
    assert differing(facts(fold_folder(root)), uninterrupted[0]) == []


@pytest.mark.slow
@pytest.mark.parametrize("place", NORMAL)
def test_killed_and_continued_equals_uninterrupted(
    isolation: Isolation, copy_planned: Copy, uninterrupted: Any, place: str
) -> None:
    check(isolation, copy_planned, uninterrupted, place)


@pytest.mark.nightly
@pytest.mark.parametrize("place", [place for place in PLACES if place not in NORMAL])
def test_killed_at_every_kind_of_place(
    isolation: Isolation, copy_planned: Copy, uninterrupted: Any, place: str
) -> None:
    check(isolation, copy_planned, uninterrupted, place)


@pytest.mark.nightly
@pytest.mark.parametrize("index", range(BY_THE_CLOCK))
def test_killed_at_a_random_moment(isolation: Isolation, copy_planned: Copy, uninterrupted: Any, index: int) -> None:
    moment = uninterrupted[1] * (index + random.Random(index).random()) / BY_THE_CLOCK
    check(isolation, copy_planned, uninterrupted, moment)


@pytest.mark.slow
def test_a_damaged_latest_checkpoint_falls_back_to_the_best_and_says_so(
    isolation: Isolation, copy_planned: Copy, uninterrupted: Any
) -> None:
    root = copy_planned("damaged")
    isolation.start(root, train, 0, False, "before checkpoint_best of epoch 4").finish()
    fold = fold_folder(root)
    latest = fold / "checkpoint_latest.pth"
    latest.write_bytes(latest.read_bytes()[:1000])
    # What a kill would leave if it came in the middle of nnU-Net's own writing of this file.
    (fold.parent / "plans.json").write_text("{")
    child = isolation.start(root, train, 0, True)
    child.result()
    assert "WARNING: The checkpoint cannot be read" in child.output
    assert "Continuing from checkpoint_best.pth instead, which has 4 epochs" in child.output
    assert differing(facts(fold), uninterrupted[0]) == []
