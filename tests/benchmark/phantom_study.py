"""The demo's phantom, planned and preprocessed for a benchmark of tiny networks."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunetv2_textguided.demo.configuration import Size, add_configuration
from nnunetv2_textguided.demo.phantom import write_dataset
from nnunetv2_textguided.demo.shapes import Grid
from nnunetv2_textguided.demo.workspace import CONFIGURATION
from nnunetv2_textguided.files import shipped
from tests.conftest import REPOSITORY
from tests.datasets import Workspace

DATASET = "Dataset901_ProstatePhantom"
FINGERPRINT_VOXELS = 1e4


class PhantomStudy(Workspace):
    """nnU-Net's three folders under the names that its documentation gives them, with the demo's phantom in them."""

    configuration = CONFIGURATION

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("raw", "preprocessed", "results"):
            self.folder(name).mkdir(parents=True, exist_ok=True)

    def folder(self, name: str) -> Path:
        return self.root / f"nnUNet_{name}"

    @property
    def environment(self) -> dict[str, str]:
        search = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
        return {
            **os.environ,
            **{f"nnUNet_{name}": str(self.folder(name)) for name in ("raw", "preprocessed", "results")},
            "nnUNet_extTrainer": str(shipped("trainers")),
            "nnUNet_n_proc_DA": "1",
            "nnUNet_def_n_proc": "1",
            "OMP_NUM_THREADS": "1",
            # nnU-Net on a CPU takes all its threads; waiting ones must not spin.
            "OMP_WAIT_POLICY": "PASSIVE",
            "PYTHONPATH": search,
        }

    def prepare(
        self, monkeypatch: Any, *, cases: int, features: int, block: Mapping[str, Any], grid: Grid | None = None
    ) -> None:
        """Draw, plan and preprocess; five folds."""
        dataset = write_dataset(self.folder("raw") / DATASET, training=cases, testing=1, grid=grid)
        for name, value in self.environment.items():
            if name.startswith("nnUNet_"):
                monkeypatch.setenv(name, value)
        from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor

        extractor = DatasetFingerprintExtractor(901, num_processes=1)
        extractor.num_foreground_voxels_for_intensitystats = FINGERPRINT_VOXELS
        extractor.run()
        self.run("nnUNetv2_plan_experiment", "-d", "901")
        self.run("nnUNetv2_preprocess", "-d", "901", "-c", "3d_fullres", "-np", "1")
        folder = self.folder("preprocessed") / DATASET
        size = Size(cases, 1, features, 4 * features, dict(block))
        add_configuration(folder / "nnUNetPlans.json", size)
        (folder / "splits_final.json").write_text(json.dumps(list(dataset.splits)))
