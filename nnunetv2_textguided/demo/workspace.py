"""The folder that a demo run fills, with nnU-Net's three folders inside it: the user's own are never touched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.files import check_writable, shipped, write_text
from nnunetv2_textguided.nnunet.folders import model_name

DATASET_ID = 901
DATASET = f"Dataset{DATASET_ID}_ProstatePhantom"
TRAINER = "nnUNetTrainerAlignRefine"
PLANS = "nnUNetPlans"
CONFIGURATION = "demo"
FOLD = 0
SEARCH_PATH = "nnUNet_extTrainer"
MARKER = ".textguided_demo"


@dataclass(frozen=True)
class Workspace:
    """Paths of one demo run below `root`."""

    root: Path

    def prepare(self) -> None:
        """Make the folder, or empty the one that an earlier demo filled.

        Raises:
            DataError: the folder holds files that no demo made, or cannot be written into.
        """
        root = self.root
        check_writable(root, "--output")
        if root.is_dir() and any(root.iterdir()) and not (root / MARKER).is_file():
            raise DataError(
                "The output folder is not empty and no demo made it.",
                where=root,
                remedy="Choose another with --output, or empty this one yourself.",
            )
        if (root / MARKER).is_file():
            for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "predicted", "logs"):
                shutil.rmtree(root / name, ignore_errors=True)
            for name in ("report.html", "demo.png", "results.json"):
                (root / name).unlink(missing_ok=True)
        write_text(
            root / MARKER, "This folder was made by `nnUNetv2_textguided demo`, which empties it when run again.\n"
        )

    def environment(self, variables: Mapping[str, str], *, workers: int) -> dict[str, str]:
        """The environment of nnU-Net's commands: this run's folders, and the folder of trainers.

        Args:
            variables: what to start from, e.g. os.environ.
            workers: data augmentation processes.
        """
        searched = [folder for folder in variables.get(SEARCH_PATH, "").split(os.pathsep) if folder]
        if str(shipped("trainers")) not in searched:  # start-up files are off, or run from a source tree
            searched.append(str(shipped("trainers")))
        return {
            # Threads that spin while they wait make training five times slower as soon as anything else runs.
            "OMP_WAIT_POLICY": "PASSIVE",
            **variables,
            "nnUNet_raw": str(self.root / "nnUNet_raw"),
            "nnUNet_preprocessed": str(self.root / "nnUNet_preprocessed"),
            "nnUNet_results": str(self.root / "nnUNet_results"),
            "nnUNet_n_proc_DA": str(workers),
            # By default validation starts eight processes, each of which imports torch to write one small mask.
            "nnUNet_def_n_proc": "1",
            SEARCH_PATH: os.pathsep.join(searched),
        }

    @property
    def raw(self) -> Path:
        """The raw data set."""
        return self.root / "nnUNet_raw" / DATASET

    @property
    def preprocessed(self) -> Path:
        """The preprocessed data set."""
        return self.root / "nnUNet_preprocessed" / DATASET

    @property
    def model(self) -> Path:
        """The trained model folder."""
        return self.root / "nnUNet_results" / DATASET / model_name(TRAINER, PLANS, CONFIGURATION)

    @property
    def training_log(self) -> Path:
        """The table that the trainer writes, one row per epoch."""
        return self.model / f"fold_{FOLD}" / "text_guidance_log.csv"

    @property
    def predicted(self) -> Path:
        """Masks that nnUNetv2_predict wrote for the test cases."""
        return self.root / "predicted"

    def log(self, name: str) -> Path:
        """Output of one step."""
        return self.root / "logs" / f"{name}.txt"
