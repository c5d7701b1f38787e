"""Tiny nnU-Net data sets and the stock commands on them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from nnunetv2_textguided.files import shipped

REPOSITORY = Path(__file__).resolve().parents[1]


def write_dataset(
    raw: Path,
    name: str = "Dataset901_Tiny",
    *,
    channels: int = 3,
    labels: Mapping[str, Any] | None = None,
    cases: int = 5,
    shape: tuple[int, int, int] = (8, 32, 32),
    spacing: tuple[float, float, float] = (1.0, 1.0, 3.0),
    **extra: Any,
) -> Path:
    """A raw data set: label k is a ball, 2k brighter than the noise in every channel; case 0 has no foreground."""
    labels = dict(labels or {"background": 0, "csPCa": 1})
    folder, rng = raw / name, np.random.default_rng(0)
    for sub in ("imagesTr", "labelsTr", "imagesTs"):
        (folder / sub).mkdir(parents=True)
    values = sorted({int(v) for value in labels.values() for v in np.atleast_1d(value) if v})
    for case in range(cases + 1):
        training = case < cases
        segmentation = np.zeros(shape, np.uint8)
        for value in values if case else []:
            centre = [rng.integers(n // 4, 3 * n // 4 + 1) for n in shape]
            axes = np.ix_(*map(np.arange, shape))
            distance = sum(((a - c) / (n / 6)) ** 2 for a, c, n in zip(axes, centre, shape, strict=True))
            segmentation[distance < 1] = value
        for channel in range(channels):
            image = rng.normal(0, 0.5, shape) + 2 * segmentation
            _write(
                folder / ("imagesTr" if training else "imagesTs") / f"case_{case:03d}_{channel:04d}.nii.gz",
                image,
                spacing,
            )
        if training:
            _write(folder / "labelsTr" / f"case_{case:03d}.nii.gz", segmentation, spacing)
    description = {
        "channel_names": {str(i): n for i, n in enumerate(["T2W", "ADC", "HBV", "a", "b", "c", "d"][:channels])},
        "labels": labels,
        "numTraining": cases,
        "file_ending": ".nii.gz",
        **extra,
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


def _write(path: Path, array: np.ndarray, spacing: tuple[float, float, float]) -> None:
    image = sitk.GetImageFromArray(array if array.dtype == np.uint8 else array.astype(np.float32))
    image.SetSpacing(spacing)
    sitk.WriteImage(image, str(path))


ZONES = {"peripheral zone": 1, "transition zone": 2}


def add_zones(raw: Path, preprocessed: Path, draw: Callable[[np.ndarray], None]) -> None:
    """Give a data set both zones as anatomy: `draw` marks them in an empty (z, y, x) map of each case."""
    (raw / "anatomyTr").mkdir()
    for path in (raw / "labelsTr").iterdir():
        image = sitk.ReadImage(str(path))
        zones = np.zeros_like(sitk.GetArrayFromImage(image))
        draw(zones)
        drawn = sitk.GetImageFromArray(zones)
        drawn.CopyInformation(image)
        sitk.WriteImage(drawn, str(raw / "anatomyTr" / path.name))
    for folder in (raw, preprocessed):
        content = json.loads((folder / "dataset.json").read_text())
        (folder / "dataset.json").write_text(json.dumps({**content, "anatomy": ZONES}))


class Workspace:
    """nnU-Net's three folders, and its commands run in them as a user runs them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("raw", "preprocessed", "results"):
            (root / name).mkdir(parents=True, exist_ok=True)

    @property
    def environment(self) -> dict[str, str]:
        """nnU-Net's variables. The suite may run uninstalled, so the trainer folder is named as `env` prints it."""
        paths = {f"nnUNet_{name}": str(self.root / name) for name in ("raw", "preprocessed", "results")}
        search = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
        threads = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        threads |= {"nnUNet_n_proc_DA": "1", "nnUNet_def_n_proc": "1"}
        trainers = {"nnUNet_extTrainer": str(shipped("trainers"))}
        return {**os.environ, **paths, **threads, **trainers, "PYTHONPATH": search}

    def start(
        self, command: str, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start one of nnU-Net's commands, in a process group of its own; its output goes to `log`."""
        with self.log.open("wb") as log:
            return subprocess.Popen(
                [sys.executable, str(Path(sys.executable).parent / command), *arguments],
                # A file, not a pipe: nnU-Net's loader processes outlive a killed parent and would keep a pipe open.
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=environment or self.environment,
                cwd=self.root,
                start_new_session=True,
            )

    @property
    def log(self) -> Path:
        """Output of the command that was started last."""
        return self.root / "command.log"

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """kill -9 a command with all its helpers, as a scheduler or the kernel does."""
        with contextlib.suppress(ProcessLookupError):  # it has ended already
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def run(
        self, command: str, *arguments: str, check: bool = True, environment: Mapping[str, str] | None = None
    ) -> str:
        """Run one of nnU-Net's commands to its end; its output."""
        process = self.start(command, *arguments, environment=environment)
        try:
            process.wait(timeout=1500)
        except subprocess.TimeoutExpired:
            self.kill(process)
        output = self.log.read_text(errors="replace")
        assert not check or process.returncode == 0, f"{command} {' '.join(arguments)}\n{output[-4000:]}"
        return output

    def plan(self, dataset: int, *configurations: str, planner: str = "ExperimentPlanner") -> None:
        """Plan and preprocess with as little work as the commands allow."""
        self.run(
            "nnUNetv2_plan_and_preprocess",
            *("-d", str(dataset), "-c", *configurations, "-pl", planner, "-np", "1", "-npfp", "1"),
        )

    def plans_path(self, plans: str = "nnUNetPlans") -> Path:
        return next((self.root / "preprocessed").glob(f"*/{plans}.json"))

    def edit_plans(
        self, configuration: str, block: Mapping[str, Any] | None, features: int = 4, plans: str = "nnUNetPlans"
    ) -> None:
        """Make the planned network tiny and set the `text_guidance` block."""
        path = self.plans_path(plans)
        content = json.loads(path.read_text())
        chosen = content["configurations"][configuration]
        kwargs = chosen["architecture"]["arch_kwargs"]
        kwargs["features_per_stage"] = [features * min(2**i, 4) for i in range(kwargs["n_stages"])]
        chosen["batch_size"] = 2
        chosen.pop("text_guidance", None)
        if block is not None:
            chosen["text_guidance"] = dict(block)
        path.write_text(json.dumps(content))
