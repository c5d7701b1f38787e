"""The models of protocol.md that are told nothing of the patient: trainings, and their cases in thresholds.csv.

    python docs/evidence/models.py --study FOLDER train MODEL FOLD REPEAT
    python docs/evidence/models.py --study FOLDER keep

FOLDER is that of study.py (rendered bpMRI of real anatomy, preprocessed). Every training is stock `nnUNetv2_train` and
nnU-Net's own validation; the models of CHANNELS also predict their validation cases with each channel left out, without
mirroring. `keep` adds what is finished to thresholds.csv, which `nnUNetv2_textguided benchmark compare` reads.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
from channels import CHANNELS
from rows import (
    FOLDS,
    keep_rows,
    preprocessed_cases,
    rows_of_case,
    train_fold,
    use_folders,
    validation_cases,
    write_probability,
)
from study import BASE, DATASETS, plans_name

from nnunetv2_textguided.evaluation.predictions import Files, find_predictions
from nnunetv2_textguided.files import read_json, write_json
from nnunetv2_textguided.inference.loading import load_predictor
from nnunetv2_textguided.inference.options import ModelOptions
from nnunetv2_textguided.network.channel_dropout import ChannelDropout

DATASET = DATASETS["lesion"]
CASES = Path(__file__).with_name("thresholds.csv")
MODELS = ("no_text", "stock_wide", "anatomy_strong_feedback_no_refiner", "narrow", "shared", "channel_dropout")
"""Variants of study.py; in the table they are called MODEL_again, since per_case.csv has some of earlier trainings."""


@dataclass(frozen=True)
class Training:
    """One of them.

    Attributes:
        study: work folder of study.py.
        model: one of MODELS.
        fold: which the others validate.
        repeat: which training of the fold, from 1.
    """

    study: Path
    model: str
    fold: int
    repeat: int

    @property
    def plans(self) -> str:
        """Their name: a repeat has its own, and with it its own results."""
        return plans_name(self.model) + (f"_repeat{self.repeat}" if self.repeat > 1 else "")

    @property
    def preprocessed(self) -> Path:
        """The preprocessed data set."""
        return self.study / "preprocessed" / DATASET

    @property
    def folder(self) -> Path:
        """The fold's results."""
        return self.study / "results" / DATASET / f"{BASE}__{self.plans}__3d_fullres" / f"fold_{self.fold}"

    def without(self, name: str) -> Path:
        """Folder of the predictions without a channel; `name` is that of the model in the table."""
        return self.folder / "channels" / name

    def label(self, case: str) -> Path:
        """A case's reference."""
        return self.study / "raw" / DATASET / "labelsTr" / f"{case}.nii.gz"

    @property
    def done(self) -> bool:
        """Whether all its predictions are there."""
        needed = self.folder / ("channels.json" if self.model in CHANNELS else "validation/summary.json")
        return needed.is_file()


def train(training: Training) -> None:
    """Train, or go on; validate; predict without channels."""
    plans = read_json(training.preprocessed / f"{plans_name(training.model)}.json", error=ValueError)
    write_json(training.preprocessed / f"{training.plans}.json", {**plans, "plans_name": training.plans})
    train_fold(DATASET, training.fold, training.plans, training.folder)
    if training.model in CHANNELS and not training.done:
        predict_without(training)


@torch.no_grad()
def predict_without(training: Training) -> None:
    """The lesion's probability in each validation case, with all channels and with each left out."""
    torch.set_num_threads(1)
    options = ModelOptions(training.folder.parent, (training.fold,), checkpoint="checkpoint_final.pth")
    network = load_predictor(options).network.eval()
    dropout = next(module for module in network.modules() if isinstance(module, ChannelDropout))
    channels = read_json(training.preprocessed / "dataset.json", error=ValueError)["channel_names"]
    named = {"with_all": frozenset[int](), **{f"without_{name}": frozenset({int(i)}) for i, name in channels.items()}}
    cases = validation_cases(training.preprocessed, training.fold)
    for case, image, _ in preprocessed_cases(training.preprocessed / "nnUNetPlans_3d_fullres", cases):
        for name, dropout.missing in named.items():
            probability = network(image).softmax(1)[0, 1].numpy()
            folder = training.without(f"{CHANNELS[training.model]}_{name}")
            write_probability(probability, training.label(case), folder / f"{case}.nii.gz")
    write_json(training.folder / "channels.json", [f"{CHANNELS[training.model]}_{name}" for name in named])


def keep(study: Path) -> None:
    """Add every finished training's cases to thresholds.csv."""
    made: list[dict[str, Any]] = []
    for model, repeat, fold in product(MODELS, range(1, 10), range(FOLDS)):
        training = Training(study, model, fold, repeat)
        if training.done:
            for case, files in find_predictions(training.folder / "validation").items():
                named = {f"{model}_again": files}
                if model in CHANNELS:
                    names = read_json(training.folder / "channels.json", error=ValueError)
                    named |= {name: Files(image=training.without(name) / f"{case}.nii.gz") for name in names}
                same = model if model in CHANNELS else ""
                made += rows_of_case(case, training.label(case), named, repeat, fold, same)
    keep_rows(CASES, made)


def main() -> None:
    """Do what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, required=True, help="work folder of study.py")
    parser.add_argument("what", choices=["train", "keep"])
    parser.add_argument("model", nargs="?", choices=MODELS)
    parser.add_argument("fold", nargs="?", type=int, default=0)
    parser.add_argument("repeat", nargs="?", type=int, default=1)
    args = parser.parse_args()
    use_folders(args.study)
    if args.what == "keep":
        keep(args.study)
    elif args.model is None:
        parser.error("which model?")
    else:
        train(Training(args.study, args.model, args.fold, args.repeat))


if __name__ == "__main__":
    main()
