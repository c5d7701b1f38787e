"""Reproduces docs/evidence_first.md: short trainings on rendered bpMRI of real anatomy, and their comparison.

    python docs/evidence/study.py --renderer phantom.py --work FOLDER [--variants NAME ...] [--trainers NAME ...]
        [--labels lesion zones mimics] [--folds 0 1 2 3 4] [--device cuda --jobs 8]
    python docs/evidence/study.py --keep REPORT --repetition NAME [--labels zones]

The renderer draws bpMRI on the public PI-CAI masks (CC BY-NC 4.0, hence not part of this package) and writes a raw
nnU-Net data set with the challenge's own patient-disjoint folds. Variants (variants.json) are plans that differ in
their `text_guidance` block or their widths, all trained by nnUNetTrainerAlignRefine; trainers share the default plans.
What is finished is not done again. The second form puts the cases of a finished report into per_case.csv.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import SimpleITK as sitk
from rows import run, use_folders

from nnunetv2_textguided.files import atomic_path, write_text

BASE = "nnUNetTrainerAlignRefine"
MIMICS = str(Path(__file__).with_name("mimics.py"))
CASES = Path(__file__).with_name("per_case.csv")
TRAINERS = {f"{BASE}_StockNetwork": "stock", f"{BASE}_NoText": "no_text", BASE: "raw", f"{BASE}_RandomText": "random"}
DATASETS = {"lesion": "Dataset501_Lesion", "zones": "Dataset502_Zones", "mimics": "Dataset503_Mimics"}
"""Labels, or the rendering with benign findings like cancers (mimics.py) -> data set."""
# Equal iterations for all: 24 epochs of 30. So few need less momentum than nnU-Net's 0.99, which remembers hundreds.
# Guidance as in the paper, weak and off in the refine phase, on which variants build; it is not the package's default.
BLOCK: dict[str, dict[str, Any]] = {
    "alignment": {"weight": 0.06, "anatomy": False, "feedback": False},
    "heatmap": {"weight": 0.15},
    "schedule": {"auxiliary_in_refine": 0.0},
    "training": {"epochs": 24, "iterations_per_epoch": 30, "val_iterations_per_epoch": 4},
    "optimiser": {"lr": 0.02, "text_lr": 0.02, "refiner_lr": 0.02, "momentum": 0.95},
}
FEATURES = [8, 16, 32, 64, 64]
VARIANTS: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("variants.json").read_text())


def prepare(labels: str, renderer: Path, work: Path, processes: int) -> None:
    """Render, plan, make the plan tiny, preprocess."""
    dataset = DATASETS[labels]
    raw, preprocessed = work / "raw" / dataset, work / "preprocessed" / dataset
    render(labels, renderer, raw, processes)
    if labels != "zones":
        add_anatomy(renderer, raw, processes)
    plans_file = preprocessed / "nnUNetPlans.json"
    if not (preprocessed / "nnUNetPlans_3d_fullres").is_dir():
        fingerprint(int(dataset[7:10]), processes)
        run("nnUNetv2_plan_experiment", "-d", dataset[7:10])
        shutil.copy(raw / "splits_final.json", preprocessed)
        write_plans(plans_file, "nnUNetPlans", {})
        run("nnUNetv2_preprocess", "-d", dataset[7:10], "-c", "3d_fullres", "-np", str(processes))
    if labels != "zones":
        shutil.copy(raw / "dataset.json", preprocessed)
        run("nnUNetv2_textguided", "anatomy", "-d", dataset[7:10], "-np", str(processes))
    for name, variant in {"": {}, **VARIANTS}.items():
        write_plans(plans_file, plans_name(name), variant)


def render(labels: str, renderer: Path, raw: Path, processes: int) -> None:
    """Draw bpMRI of all anatomies, and their folds."""
    if not (raw / "cases.csv").is_file():
        grid = ["--size", "16", "64", "64", "--spacing", "3", "1.25", "1.25", "--centre", "gland"]
        classes = "zones" if labels == "zones" else "lesion"
        cases = ["--n-train", "200", "--n-test", "0", "--seed", "0", "--labels", classes, "--workers", str(processes)]
        script = [MIMICS, "--renderer", str(renderer)] if labels == "mimics" else [str(renderer)]
        run(sys.executable, *script, "--out", str(raw), *grid, *cases)


def add_anatomy(renderer: Path, raw: Path, processes: int) -> None:
    """Zone masks of the same anatomies, which supervise the text where a variant asks for it, and nothing else."""
    if (raw / "anatomyTr").is_dir():
        return
    zones = raw.parent / DATASETS["zones"]
    render("zones", renderer, zones, processes)
    partial = raw / "anatomyTr.partial"
    partial.mkdir(exist_ok=True)
    for label in sorted((zones / "labelsTr").iterdir()):
        image = sitk.ReadImage(str(label))
        sitk.WriteImage(image * sitk.Cast(image < 3, image.GetPixelID()), str(partial / label.name))
    description = json.loads((raw / "dataset.json").read_text())
    description["anatomy"] = {"peripheral zone": 1, "transition zone": 2}
    (raw / "dataset.json").write_text(json.dumps(description, indent=2))
    partial.rename(raw / "anatomyTr")


def plans_name(variant: str) -> str:
    """The variant's plans; nnU-Net's own name for none."""
    return f"nnUNetPlans_{variant}" if variant else "nnUNetPlans"


def write_plans(source: Path, name: str, variant: dict[str, Any]) -> None:
    """Tiny plans with the study's and the variant's settings, on the same preprocessed cases."""
    plans = json.loads(source.read_text())
    plans["plans_name"] = name
    chosen = plans["configurations"]["3d_fullres"]
    base = VARIANTS[variant["like"]]["block"] if "like" in variant else {}
    block = merged(merged(BLOCK, base), variant.get("block", {}))
    # Dice over the batch: half of the cases have no lesion, and of those a sample's own Dice teaches nothing.
    chosen |= {"batch_size": 2, "batch_dice": True, "text_guidance": block}
    chosen["architecture"]["arch_kwargs"]["features_per_stage"] = variant.get("features", FEATURES)
    # Studies of other folds may be reading it.
    write_text(source.with_name(f"{name}.json"), json.dumps(plans, indent=1))


def merged(block: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """The block with the keys of `over`, one level deep."""
    sections = {
        key: {**block.get(key, {}), **value} if isinstance(value, dict) else value for key, value in over.items()
    }
    return {**block, **sections}


def fingerprint(dataset: int, processes: int) -> None:
    """nnU-Net's fingerprint from a hundredth of its voxels: z-scored MRI never uses their statistics."""
    from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor

    extractor = DatasetFingerprintExtractor(dataset, num_processes=processes)
    extractor.num_foreground_voxels_for_intensitystats = 1e6
    extractor.run()


def train_and_report(labels: str, models: list[str], plans: list[str], args: argparse.Namespace, name: str) -> None:
    """One benchmark: every trainer under every plans name."""
    common = ["-d", DATASETS[labels][7:10], "-c", "3d_fullres", "--folds", *args.folds, "--trainers", *models]
    where = ["--device", args.device, "--jobs", args.jobs]
    if not args.report_only:
        # A failed training is told by the command; what is finished can still be compared.
        run("nnUNetv2_textguided", "benchmark", "run", *common, "--plans", *plans, *where, check=False)
    out = args.work / "reports" / f"{labels}_{name}"
    options = ["--label", "csPCa", "--allow-incomplete", "-o", str(out)]
    run("nnUNetv2_textguided", "benchmark", "report", *common, "-p", *plans, *options, check=False)


def keep(report: Path, repetition: str, labels: str) -> None:
    """Put a report's cases of the label csPCa into per_case.csv; what is there already stays."""
    new = pd.read_csv(report / "per_case.csv")
    variant = new["plans"].str.removeprefix("nnUNetPlans").str.removeprefix("_")
    new["model"] = variant.where(variant != "", new["trainer"].map(TRAINERS))
    new = new.assign(labels=labels, repetition=repetition)
    there = pd.read_csv(CASES)
    together = pd.concat([there, new[there.columns]])
    together = together.drop_duplicates(["labels", "model", "repetition", "case"])
    with atomic_path(CASES) as partial:
        together.to_csv(partial, index=False, float_format="%.5g")


def main() -> None:
    """Prepare, train, report; or keep a report's cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--renderer", type=Path, help="the script that draws bpMRI on PI-CAI's masks")
    parser.add_argument("--work", type=Path, help="folder for nnU-Net's three folders and the reports")
    parser.add_argument("--labels", nargs="+", default=["lesion"], choices=list(DATASETS), help="default: lesion")
    parser.add_argument("--variants", nargs="*", default=[], choices=list(VARIANTS), help="of variants.json")
    parser.add_argument("--trainers", nargs="*", default=[], help=f"such as {BASE}_NoText, on the default plans")
    parser.add_argument("--folds", nargs="+", default=["0", "1", "2", "3", "4"], help="default: all five")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--jobs", default="2", help="trainings at a time (default: 2)")
    parser.add_argument("--processes", type=int, default=2, help="for rendering and preprocessing (default: 2)")
    parser.add_argument("--report-only", action="store_true", help="compare what there is")
    parser.add_argument("--keep", type=Path, metavar="REPORT", help="put its cases into per_case.csv, and stop")
    parser.add_argument("--repetition", default="cpu 1", help="name of its trainings (default: %(default)s)")
    args = parser.parse_args()
    if args.keep:
        keep(args.keep, args.repetition, args.labels[0])
        return
    if not (args.renderer and args.work):
        parser.error("--renderer and --work are needed to train")
    use_folders(args.work)
    for labels in args.labels:
        prepare(labels, args.renderer, args.work, args.processes)
        if args.variants:
            train_and_report(labels, [BASE], [plans_name(v) for v in args.variants], args, "variants")
        if args.trainers:
            train_and_report(labels, args.trainers, ["nnUNetPlans"], args, "trainers")


if __name__ == "__main__":
    main()
