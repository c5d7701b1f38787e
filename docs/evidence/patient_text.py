"""What sentences about the patient change (docs/case_text.md): trainings, and the cases of patient_text.csv.

    python docs/evidence/patient_text.py --study FOLDER --work FOLDER --marksheet FILE prepare
    python docs/evidence/patient_text.py --study FOLDER --work FOLDER train FOLD [REPEAT]
    python docs/evidence/patient_text.py --study FOLDER --work FOLDER keep

FOLDER of --study is that of study.py (rendered bpMRI of real anatomy, preprocessed). A simulated reader (reader.py)
says where each lesion is, with errors, and names a finding at random in a share of the lesion-free cases; the grade is
the study's own PI-RADS. One network is trained in each fold. Its validation cases are predicted with the sentences of
each of CONDITIONS, so that conditions differ in nothing but text.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from reader import Reader, lesions_of, misread, opposite
from rows import rows_of_case, run, use_folders

from nnunetv2_textguided.anatomy.sectors import Sector
from nnunetv2_textguided.evaluation.predictions import Files
from nnunetv2_textguided.files import atomic_path, read_json, write_json
from nnunetv2_textguided.inference.case_text import CaseTextReader
from nnunetv2_textguided.inference.loading import load_predictor
from nnunetv2_textguided.inference.options import ModelOptions
from nnunetv2_textguided.picai.marksheet import read_marksheet
from nnunetv2_textguided.text.case_text import CaseText, write_case_text
from nnunetv2_textguided.text.phrases import held_out_phrases, training_phrases

SOURCE = "Dataset501_Lesion"
BASE, PLANS = "nnUNetPlans_anatomy_strong_feedback_no_refiner", "nnUNetPlans_told"
FOLDS = 5
BENIGN = 0.35
"""Share of the lesion-free cases in which the reader names a finding."""
READER = Reader()
CONDITIONS = ("none", "reader", "unseen", "other", "opposite", "oracle")
"""No sentence; the reader's; the same places in wordings that no training sees; another positive patient's; the zone,
side and depth that the reader did not name; the right places. The first is what `nnUNetv2_predict` gives."""
CASES = Path(__file__).with_suffix(".csv")
BLOCK: dict[str, Any] = {
    "grounding": {"enabled": True, "weight": 1.0},
    "text": {"case": {"sentences": True}},
}


@dataclass(frozen=True)
class Study:
    """Where everything is.

    Attributes:
        source: work folder of study.py, with raw and preprocessed.
        work: folder for nnU-Net's three folders and the predictions.
    """

    source: Path
    work: Path

    @property
    def raw(self) -> Path:
        """The raw data set with case text."""
        return self.work / "raw" / SOURCE

    @property
    def preprocessed(self) -> Path:
        """The preprocessed data set."""
        return self.work / "preprocessed" / SOURCE

    def model(self, repeat: int) -> Path:
        """The model folder of a repeat."""
        return self.work / "results" / SOURCE / f"nnUNetTrainerAlignRefine__{plans_of(repeat)}__3d_fullres"


def plans_of(repeat: int) -> str:
    """The plans' name of a repeat."""
    return PLANS if repeat == 1 else f"{PLANS}_repeat{repeat}"


def prepare(study: Study, marksheet: Path) -> None:
    """The data set with the reader's sentences, those of all conditions, and the plans."""
    for own, source in ((study.raw, study.source / "raw"), (study.preprocessed, study.source / "preprocessed")):
        shutil.copytree(source / SOURCE, own, symlinks=True, copy_function=_link, dirs_exist_ok=True)
    (study.work / "zones").mkdir(exist_ok=True)
    rows, rng, said = read_marksheet(marksheet), random.Random("reader"), {}
    for path in sorted((study.raw / "labelsTr").glob("*.nii.gz")):
        case = path.name.removesuffix(".nii.gz")
        true = [
            place
            for place, _ in lesions_of(path, study.raw / "anatomyTr" / path.name, study.work / "zones" / path.name)
        ]
        grades = [int(word) for word in rows[case].pirads.split(",") if word.strip().isdigit()]
        read = [place for place in (misread(one, READER, rng) for one in true) if place is not None]
        if not true and rng.random() < BENIGN:
            read = [rng.choice(_places())]
        said[case] = {"true": true, "read": read, "grade": max(grades, default=3)}
    positive = [case for case, one in said.items() if one["true"] and one["read"]]
    texts = {}
    for case, one in said.items():
        other = said[rng.choice([name for name in positive if name != case])]
        wrong = [opposite(place) for place in one["read"]]
        texts[case] = {
            "none": [],
            "reader": [_known(place, one["grade"], rng) for place in one["read"]],
            "unseen": [_unseen(place, rng) for place in one["read"]],
            "other": [_known(place, other["grade"], rng) for place in other["read"]],
            "opposite": [_known(place, one["grade"], rng) for place in wrong],
            "oracle": [_known(place, one["grade"], rng) for place in one["true"]],
        }
    texts = {case: {name: list(dict.fromkeys(said)) for name, said in one.items()} for case, one in texts.items()}
    write_json(study.work / "texts.json", texts)
    findings = {case: CaseText(tuple(one["reader"])) for case, one in texts.items()}
    write_case_text(study.raw / "case_text.json", findings)
    plans = read_json(study.preprocessed / f"{BASE}.json", error=ValueError)
    plans["configurations"]["3d_fullres"]["text_guidance"] |= BLOCK
    for repeat in (1, 2):
        write_json(study.preprocessed / f"{plans_of(repeat)}.json", {**plans, "plans_name": plans_of(repeat)})
    run("nnUNetv2_textguided", "encode", "-d", SOURCE[7:10], "--encoder", "minilm", "--no-tokens")
    run("nnUNetv2_textguided", "anatomy", "-d", SOURCE[7:10], "-p", PLANS, "-np", "1")


def _link(source: str, target: str) -> str:
    if not Path(target).exists():
        os.link(Path(source).resolve(), target)
    return target


def _places() -> list[Sector]:
    return [phrase.sector for phrase in held_out_phrases() if all(phrase.sector)]


def _known(place: Sector, grade: int, rng: random.Random) -> str:
    """A sentence in one of the wordings of places that phrases are learned in."""
    texts = [phrase.text.removeprefix("the ") for phrase in training_phrases() if phrase.sector == place]
    plain = [text for text in texts if "lesion" not in text and "focus" not in text and "signal" not in text]
    return f"PI-RADS {grade} lesion in the {rng.choice(plain or texts)}"


def _unseen(place: Sector, rng: random.Random) -> str:
    return rng.choice([phrase.text for phrase in held_out_phrases() if phrase.sector == place])


def train(study: Study, fold: int, repeat: int) -> None:
    """One fold's training, and its validation cases under every condition."""
    folder = study.model(repeat) / f"fold_{fold}"
    if not (folder / "checkpoint_final.pth").is_file():
        more = ["--c"] if (folder / "checkpoint_latest.pth").is_file() else []
        common = ["-p", plans_of(repeat), "-tr", "nnUNetTrainerAlignRefine", "-device", "cpu"]
        run("nnUNetv2_train", SOURCE[7:10], "3d_fullres", str(fold), *common, *more)
    predict(study, fold, repeat)


@torch.no_grad()
def predict(study: Study, fold: int, repeat: int) -> None:
    """The lesion's probability in each validation case, under each condition."""
    from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class

    torch.set_num_threads(1)
    options = ModelOptions(study.model(repeat), (fold,), encoder="minilm", checkpoint="checkpoint_final.pth")
    predictor = load_predictor(options)
    network, reader = predictor.network.eval(), CaseTextReader(predictor.settings, options)
    texts = read_json(study.work / "texts.json", error=ValueError)
    cases = read_json(study.preprocessed / "splits_final.json", error=ValueError)[fold]["val"]
    told = {f"{case} {name}": CaseText(tuple(texts[case][name])) for case in cases for name in CONDITIONS}
    reader.embed({key: text for key, text in told.items() if text.findings})
    images = str(study.preprocessed / "nnUNetPlans_3d_fullres")
    dataset = infer_dataset_class(images)(images, cases)
    for case in cases:
        image = torch.from_numpy(np.array(dataset.load_case(case)[0][:], dtype=np.float32))[None]
        for name in CONDITIONS:
            text = told[f"{case} {name}"]
            given = reader.told(text).inputs()[0] if text.findings else None
            # A preprocessed case is one patch, on the grid of its label map.
            logits = network(image, text=given)
            _write(study, case, name, logits.softmax(1)[0, 1].numpy(), fold, repeat)


def _write(study: Study, case: str, name: str, probability: np.ndarray, fold: int, repeat: int) -> None:
    label = sitk.ReadImage(str(study.raw / "labelsTr" / f"{case}.nii.gz"))
    image = sitk.GetImageFromArray(probability)
    image.CopyInformation(label)
    path = predicted(study, case, name, fold, repeat)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path), True)


def predicted(study: Study, case: str, name: str, fold: int, repeat: int) -> Path:
    """File of a prediction."""
    return study.work / "predictions" / f"{name}_{repeat}_{fold}" / f"{case}.nii.gz"


def keep(study: Study) -> None:
    """Make patient_text.csv of every finished training; `nnUNetv2_textguided benchmark compare` reads it."""
    table = [
        row
        for repeat in (1, 2)
        for fold, split in enumerate(read_json(study.preprocessed / "splits_final.json", error=ValueError)[:FOLDS])
        if all(predicted(study, case, CONDITIONS[-1], fold, repeat).is_file() for case in split["val"])
        for case in split["val"]
        for row in scored(study, case, fold, repeat)
    ]
    with atomic_path(CASES) as partial, partial.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)


def scored(study: Study, case: str, fold: int, repeat: int) -> list[dict[str, Any]]:
    """A case's rows, one for each condition."""
    files = {name: Files(image=predicted(study, case, name, fold, repeat)) for name in CONDITIONS}
    return rows_of_case(case, study.raw / "labelsTr" / f"{case}.nii.gz", files, repeat, fold)


def main() -> None:
    """Do what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, required=True, help="work folder of study.py")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is made here")
    parser.add_argument("--marksheet", type=Path, help="PI-CAI's marksheet.csv, for prepare")
    parser.add_argument("what", choices=["prepare", "train", "keep"])
    parser.add_argument("fold", nargs="?", type=int, default=0)
    parser.add_argument("repeat", nargs="?", type=int, default=1)
    args = parser.parse_args()
    study = Study(args.study, args.work)
    use_folders(args.work)
    if args.what == "prepare":
        prepare(study, args.marksheet)
    elif args.what == "train":
        train(study, args.fold, args.repeat)
    else:
        keep(study)


if __name__ == "__main__":
    main()
