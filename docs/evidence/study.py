"""Reproduces docs/evidence.md: short trainings on rendered bpMRI of real anatomy, and their comparison.

    python docs/evidence/study.py --renderer phantom.py --work FOLDER [--jobs 2] [--folds 0 1]

The renderer draws bpMRI on the public PI-CAI masks (CC BY-NC 4.0, hence not part of this package) and writes a raw
nnU-Net data set with the challenge's own patient-disjoint folds. What is finished is not done again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

BASE = "nnUNetTrainerAlignRefine"
# Equal iterations for all: 24 epochs of 30. So few need less momentum than nnU-Net's 0.99, which remembers hundreds.
BLOCK = {
    "training": {"epochs": 24, "iterations_per_epoch": 30, "val_iterations_per_epoch": 4},
    "optimiser": {"lr": 0.02, "text_lr": 0.02, "refiner_lr": 0.02, "momentum": 0.95},
}
FEATURES = [8, 16, 32, 64, 64]


@dataclass(frozen=True)
class Arm:
    """One data set and the trainers that are compared on it; the first is the reference."""

    dataset: str
    labels: str
    """What the renderer's --labels takes: "lesion" or "zones"."""
    trainers: tuple[str, ...]

    @property
    def number(self) -> str:
        """The data set's number, as nnU-Net's commands take it."""
        return self.dataset[7:10]


ARMS = (
    Arm("Dataset501_Lesion", "lesion", (f"{BASE}_StockNetwork", f"{BASE}_NoText", BASE, f"{BASE}_RandomText")),
    Arm("Dataset502_Zones", "zones", (f"{BASE}_NoText", BASE)),
)


def prepare(arm: Arm, renderer: Path, work: Path) -> None:
    """Render, plan, make the plan tiny, preprocess."""
    raw, preprocessed = work / "raw" / arm.dataset, work / "preprocessed" / arm.dataset
    if not (raw / "cases.csv").is_file():
        grid = ["--size", "16", "64", "64", "--spacing", "3", "1.25", "1.25", "--centre", "gland"]
        cases = ["--n-train", "200", "--n-test", "0", "--seed", "0", "--labels", arm.labels]
        run(sys.executable, str(renderer), "--out", str(raw), *grid, *cases)
    if (preprocessed / "nnUNetPlans_3d_fullres").is_dir():
        return
    fingerprint(int(arm.number))
    run("nnUNetv2_plan_experiment", "-d", arm.number)
    shutil.copy(raw / "splits_final.json", preprocessed)
    plans_file = preprocessed / "nnUNetPlans.json"
    plans = json.loads(plans_file.read_text())
    chosen = plans["configurations"]["3d_fullres"]
    # Dice over the batch: half of the cases have no lesion, and of those a sample's own Dice teaches nothing.
    chosen |= {"batch_size": 2, "batch_dice": True, "text_guidance": BLOCK}
    chosen["architecture"]["arch_kwargs"]["features_per_stage"] = FEATURES
    plans_file.write_text(json.dumps(plans, indent=1))
    run("nnUNetv2_preprocess", "-d", arm.number, "-c", "3d_fullres", "-np", "2")


def fingerprint(dataset: int) -> None:
    """nnU-Net's fingerprint from a hundredth of its voxels: z-scored MRI never uses their statistics."""
    from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor

    extractor = DatasetFingerprintExtractor(dataset, num_processes=2)
    extractor.num_foreground_voxels_for_intensitystats = 1e6
    extractor.run()


def run(*command: str) -> None:
    """Run a command of this environment; its output goes to this terminal."""
    own = Path(sys.executable).with_name(command[0])
    subprocess.run([str(own) if own.exists() else command[0], *command[1:]], check=True)


def main() -> None:
    """Prepare, train, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--renderer", type=Path, required=True, help="the script that draws bpMRI on PI-CAI's masks")
    parser.add_argument("--work", type=Path, required=True, help="folder for nnU-Net's three folders")
    parser.add_argument("--jobs", default="2", help="trainings at a time (default: 2)")
    parser.add_argument("--folds", nargs="+", default=["0", "1"], help="default: 0 1")
    args = parser.parse_args()
    for name in ("raw", "preprocessed", "results"):
        (args.work / name).mkdir(parents=True, exist_ok=True)
        os.environ[f"nnUNet_{name}"] = str((args.work / name).resolve())
    # One thread per training; those that wait sleep.
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "nnUNet_n_proc_DA": "1"}
    for arm in ARMS:
        prepare(arm, args.renderer, args.work)
        common = ["-d", arm.number, "-c", "3d_fullres", "--folds", *args.folds, "--trainers", *arm.trainers]
        run("nnUNetv2_textguided", "benchmark", "run", *common, "--device", "cpu", "--jobs", args.jobs)
        run("nnUNetv2_textguided", "benchmark", "report", *common, "--label", "csPCa")


if __name__ == "__main__":
    main()
