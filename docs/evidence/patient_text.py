"""What sentences about the patient change (docs/case_text_evidence.md): trainings, and the cases of patient_text.csv.

    python docs/evidence/patient_text.py --study FOLDER --work FOLDER --marksheet FILE prepare
    python docs/evidence/patient_text.py --study FOLDER --work FOLDER train FOLD [REPEAT]
    python docs/evidence/patient_text.py --study FOLDER --work FOLDER keep

FOLDER of --study is that of study.py (rendered bpMRI of real anatomy, preprocessed); with `--labels mimics` all is done
on its second rendering. A simulated reader says where each lesion is, with errors (readings.py). One network is trained
in each fold, and one more for which every sentence and phrase is a random code (`--row codes`). Its validation cases
are predicted with the sentences of each condition, so that conditions differ in nothing but text.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from places import PLACES, Embedder, Places, code_of, maps_of, of_cases, of_phrases
from readings import CONDITIONS, texts_of
from rows import (
    FOLDS,
    keep_rows,
    link,
    preprocessed_cases,
    rows_of_case,
    run,
    use_folders,
    validation_cases,
    write_probability,
)

from nnunetv2_textguided.evaluation.predictions import Files
from nnunetv2_textguided.files import read_json, write_json
from nnunetv2_textguided.inference.loading import load_predictor
from nnunetv2_textguided.inference.options import ModelOptions
from nnunetv2_textguided.network.grounding import CaseInput
from nnunetv2_textguided.nnunet.preprocessed import read_map
from nnunetv2_textguided.text.case_text import CaseText, write_case_text
from nnunetv2_textguided.text.embeddings import read_embeddings, write_embeddings
from nnunetv2_textguided.text.resolve import FILE_NAME
from nnunetv2_textguided.text.sentence_table import SentenceTable

DATASETS = {"lesion": "Dataset501_Lesion", "mimics": "Dataset503_Mimics"}
BASE = "nnUNetPlans_anatomy_strong_feedback_no_refiner"
ROWS = {"tokens": "nnUNetPlans_told", "codes": "nnUNetPlans_codes"}
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
        labels: the rendering, one of DATASETS.
        row: one of ROWS.
    """

    source: Path
    work: Path
    labels: str = "lesion"
    row: str = "tokens"

    @property
    def dataset(self) -> str:
        """nnU-Net's name of the data set."""
        return DATASETS[self.labels]

    @property
    def raw(self) -> Path:
        """The raw data set with case text."""
        return self.work / "raw" / self.dataset

    @property
    def preprocessed(self) -> Path:
        """The preprocessed data set."""
        return self.work / "preprocessed" / self.dataset

    @property
    def texts(self) -> Path:
        """The sentences of all conditions."""
        return self.work / f"texts_{self.labels}.json"

    def plans(self, repeat: int) -> str:
        """The plans' name of a repeat."""
        return ROWS[self.row] + (f"_repeat{repeat}" if repeat > 1 else "")

    def model(self, repeat: int) -> Path:
        """The model folder of a repeat."""
        return self.work / "results" / self.dataset / f"nnUNetTrainerAlignRefine__{self.plans(repeat)}__3d_fullres"

    def predicted(self, condition: str, fold: int, repeat: int) -> Path:
        """Folder of one fold's predictions."""
        return self.work / "predictions" / self.labels / f"{self.row}_{condition}_{repeat}_{fold}"

    def found(self, fold: int, repeat: int) -> Path:
        """Where one fold's sentences and phrases were found."""
        return self.predicted("found", fold, repeat).with_suffix(".json")

    def label(self, case: str) -> Path:
        """A case's reference."""
        return self.raw / "labelsTr" / f"{case}.nii.gz"


def prepare(study: Study, marksheet: Path) -> None:
    """The data set with the reader's sentences, those of all conditions, the embeddings and the plans."""
    for own, source in ((study.raw, study.source / "raw"), (study.preprocessed, study.source / "preprocessed")):
        shutil.copytree(source / study.dataset, own, symlinks=True, copy_function=link, dirs_exist_ok=True)
    texts = texts_of(study.raw, study.work / f"zones_{study.labels}", marksheet)
    write_json(study.texts, texts)
    findings = {case: CaseText(tuple(sentences(one["reader"]))) for case, one in texts.items()}
    write_case_text(study.raw / "case_text.json", findings)
    run("nnUNetv2_textguided", "encode", "-d", study.dataset[7:10], "--encoder", "minilm")
    embeddings = read_embeddings(study.preprocessed / FILE_NAME)
    tables = {
        role: SentenceTable(table.texts, np.stack([code_of(text, table.pooled.shape[1]) for text in table.texts]))
        for role, table in embeddings.tables.items()
    }
    codes = study.preprocessed / "codes.safetensors"
    write_embeddings(codes, replace(embeddings, tables=tables))
    plans = read_json(study.preprocessed / f"{BASE}.json", error=ValueError)
    plans["configurations"]["3d_fullres"]["text_guidance"] |= BLOCK
    for row in ROWS:
        text = {**BLOCK["text"], "embeddings": str(codes)} if row == "codes" else BLOCK["text"]
        plans["configurations"]["3d_fullres"]["text_guidance"]["text"] = text
        for repeat in (1, 2):
            name = replace(study, row=row).plans(repeat)
            write_json(study.preprocessed / f"{name}.json", {**plans, "plans_name": name})
    run("nnUNetv2_textguided", "anatomy", "-d", study.dataset[7:10], "-p", ROWS["tokens"], "-np", "1")


def sentences(said: Iterable[dict[str, str]]) -> list[str]:
    """Each sentence once."""
    return list(dict.fromkeys(one["sentence"] for one in said))


def train(study: Study, fold: int, repeat: int) -> None:
    """One fold's training, and its validation cases under every condition."""
    folder = study.model(repeat) / f"fold_{fold}"
    if not (folder / "checkpoint_final.pth").is_file():
        more = ["--c"] if (folder / "checkpoint_latest.pth").is_file() else []
        common = ["-p", study.plans(repeat), "-tr", "nnUNetTrainerAlignRefine", "-device", "cpu"]
        run("nnUNetv2_train", study.dataset[7:10], "3d_fullres", str(fold), *common, *more)
    predict(study, fold, repeat)


@torch.no_grad()
def predict(study: Study, fold: int, repeat: int) -> None:
    """The lesion's probability in each validation case, under each condition, and where sentences are found."""
    torch.set_num_threads(1)
    options = ModelOptions(study.model(repeat), (fold,), encoder="minilm", checkpoint="checkpoint_final.pth")
    predictor = load_predictor(options)
    network, texts = predictor.network.eval(), read_json(study.texts, error=ValueError)
    embed = Embedder(study.row, predictor.settings.text.resolved.text_dim)
    images = study.preprocessed / "nnUNetPlans_3d_fullres"
    found = []
    for case, image, label in preprocessed_cases(images, validation_cases(study.preprocessed, fold)):
        place = Places(read_map(images, images.with_name(f"{images.name}_sectors"), case), label)
        alone = np.zeros(0)
        for name in CONDITIONS:
            said = texts[case][name]
            given = CaseInput(None, embed(sentences(said))[None]) if said else None
            output = network(image, return_similarity=True, text=given)
            probability = output[0].softmax(1)[0, 1].numpy()
            write_probability(probability, study.label(case), study.predicted(name, fold, repeat) / f"{case}.nii.gz")
            alone = probability if name == "none" else alone
            if said:
                numbers = {one["sentence"]: int(one["place"]) for one in said}
                maps = maps_of(output.grounded.sentences, image)
                found += [
                    {"case": case, "condition": name, **place.found(one, {number}, alone)}
                    for one, number in zip(maps, numbers.values(), strict=True)
                ]
        found += [{"case": case, **row} for row in of_phrases(network, image, embed, place, alone)]
    write_json(study.found(fold, repeat), found)


def keep(work: Study) -> None:
    """Add every finished training to patient_text.csv and places.csv; `benchmark compare` reads the former."""
    cases: list[dict[str, Any]] = []
    places: list[dict[str, Any]] = []
    for labels, row, repeat, fold in product(DATASETS, ROWS, (1, 2), range(FOLDS)):
        study = replace(work, labels=labels, row=row)
        if not study.found(fold, repeat).is_file():
            continue
        prefix = ("mimics_" if labels == "mimics" else "") + f"{row}_"
        found = read_json(study.found(fold, repeat), error=ValueError)
        places += of_cases({"model": prefix, "repeat": repeat, "fold": fold}, found)
        for case in validation_cases(study.preprocessed, fold):
            cases += scored(study, case, prefix, fold, repeat)
    keep_rows(CASES, cases)
    keep_rows(PLACES, places)


def scored(study: Study, case: str, prefix: str, fold: int, repeat: int) -> list[dict[str, Any]]:
    """A case's rows, one for each condition."""
    files = {
        f"{prefix}{name}": Files(image=study.predicted(name, fold, repeat) / f"{case}.nii.gz") for name in CONDITIONS
    }
    return rows_of_case(case, study.label(case), files, repeat, fold, f"{prefix}told")


def main() -> None:
    """Do what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, required=True, help="work folder of study.py")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is made here")
    parser.add_argument("--marksheet", type=Path, help="PI-CAI's marksheet.csv, for prepare")
    parser.add_argument("--labels", choices=list(DATASETS), default="lesion", help="the rendering (default: lesion)")
    parser.add_argument("--row", choices=list(ROWS), default="tokens", help="tokens of the words (default), or codes")
    parser.add_argument("what", choices=["prepare", "train", "keep"])
    parser.add_argument("fold", nargs="?", type=int, default=0)
    parser.add_argument("repeat", nargs="?", type=int, default=1)
    args = parser.parse_args()
    study = Study(args.study, args.work, args.labels, args.row)
    use_folders(args.work)
    if args.what == "prepare":
        prepare(study, args.marksheet)
    elif args.what == "train":
        train(study, args.fold, args.repeat)
    else:
        keep(study)


if __name__ == "__main__":
    main()
