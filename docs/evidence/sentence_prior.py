"""What sentences are worth, fitted after training (docs/case_text_evidence.md): the cases of sentence_prior.csv.

    python docs/evidence/sentence_prior.py --study FOLDER --work FOLDER --labels mimics maps FOLD [REPEAT]
    python docs/evidence/sentence_prior.py --study FOLDER --work FOLDER keep

after the trainings of patient_text.py, whose networks, sentences and predictions without text it uses. Each fold's
cases are given the prior that was fitted on the other folds of the same repeat, with the reader's sentences. All
conditions, no sentences too, are at the scale of its regression, which ranks a network's voxels as the network does.
Rows of "place" are given one that is told no grades: what remains is where a sentence is. On the plain rendering, where
the reader's grade of every false finding is 3, that is the only row.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from patient_text import DATASETS, Study, sentences
from places import Embedder, maps_of
from readings import CONDITIONS, without_grade
from rows import FOLDS, keep_rows, preprocessed_cases, rows_of_case, use_folders, validation_cases, write_probability

from nnunetv2_textguided.evaluation.predictions import Files
from nnunetv2_textguided.files import atomic_path, read_json
from nnunetv2_textguided.inference.loading import load_predictor
from nnunetv2_textguided.inference.options import ModelOptions
from nnunetv2_textguided.inference.sentence_prior import Regions, fit_prior, regions_of
from nnunetv2_textguided.network.grounding import CaseInput

CASES = Path(__file__).with_suffix(".csv")
TOLD = tuple(name for name in CONDITIONS if name not in ("none", "opposite"))
KINDS = {"lesion": ("place",), "mimics": ("place", "prior")}
"""Which priors are fitted on each rendering: of places alone, of places and grades."""


def maps_file(study: Study, fold: int, repeat: int) -> Path:
    """Where one fold's maps of sentences are kept."""
    return study.predicted("maps", fold, repeat).with_suffix(".npz")


@torch.no_grad()
def find(study: Study, fold: int, repeat: int) -> None:
    """Where the trained network finds the sentences of its validation cases."""
    torch.set_num_threads(1)
    options = ModelOptions(study.model(repeat), (fold,), encoder="minilm", checkpoint="checkpoint_final.pth")
    predictor = load_predictor(options)
    network, texts = predictor.network.eval(), read_json(study.texts, error=ValueError)
    embed = Embedder(study.row, predictor.text.text_dim)
    images = study.preprocessed / "nnUNetPlans_3d_fullres"
    kept = {}
    for case, image, _ in preprocessed_cases(images, validation_cases(study.preprocessed, fold)):
        said = {name: sentences(texts[case][name]) for name in TOLD}
        if not (everything := [one for each in said.values() for one in each]):
            continue
        text = CaseInput(None, embed(everything)[None])
        maps = maps_of(network(image, return_similarity=True, text=text).grounded.sentences, image)
        each = np.split((maps * 255).round().astype(np.uint8), np.cumsum([len(one) for one in said.values()])[:-1])
        kept |= {f"{case} {name}": one for name, one in zip(said, each, strict=True)}
    path = maps_file(study, fold, repeat)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as partial, partial.open("wb") as stream:
        np.savez_compressed(stream, **kept)


class Fold:
    """A fold's validation cases: what the image shows, where sentences are, and what they say."""

    def __init__(self, study: Study, fold: int, repeat: int) -> None:
        self.study, self.number, self.repeat = study, fold, repeat
        self.cases = validation_cases(study.preprocessed, fold)
        self._texts = read_json(study.texts, error=ValueError)
        self._maps = np.load(maps_file(study, fold, repeat))

    def alone(self, case: str) -> np.ndarray:
        """(Z, Y, X) probability of the lesion without text."""
        path = self.study.predicted("none", self.number, self.repeat) / f"{case}.nii.gz"
        return np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), dtype=np.float32)

    def said(self, case: str, condition: str, kind: str) -> tuple[list[np.ndarray], list[str]]:
        """Each sentence's map, and the sentence."""
        if condition == "none":
            return [], []
        found = sentences(self._texts[case][condition])
        maps = [one / 255 for one in self._maps[f"{case} {condition}"]] if found else []
        return maps, [without_grade(one) for one in found] if kind == "place" else found

    def regions(self, kind: str) -> Iterator[Regions]:
        """Regions of each case, with the reader's sentences."""
        for case in self.cases:
            label = sitk.GetArrayFromImage(sitk.ReadImage(str(self.study.label(case)))) > 0
            yield regions_of(self.alone(case), *self.said(case, "reader", kind), label)


def rows_with_prior(study: Study, repeat: int, kind: str) -> list[dict[str, Any]]:
    """Rows of every case under every condition, with the prior of the other folds."""
    folds = [Fold(study, number, repeat) for number in range(FOLDS)]
    regions = [list(fold.regions(kind)) for fold in folds]
    prefix = ("mimics_" if study.labels == "mimics" else "") + f"{study.row}_"
    rows = []
    for fold in folds:
        others = [(one, n) for n, found in enumerate(regions) if n != fold.number for one in found]
        prior = fit_prior([one for one, _ in others], [n for _, n in others], "csPCa")
        print(study.labels, kind, repeat, fold.number, prior, flush=True)
        for case in fold.cases:
            files, alone = {}, fold.alone(case)
            limited = np.clip(alone.astype(float), 1e-7, 1 - 1e-7)
            for condition in ("none", *TOLD):
                shift = prior.shift(alone, *fold.said(case, condition, kind))
                # As a chance: at the network's own scale much would be 1 to all digits of the tables.
                logit = prior.slope * (np.log(limited / (1 - limited)) + shift) + prior.intercept
                path = study.predicted(f"{kind}_{condition}", fold.number, repeat) / f"{case}.nii.gz"
                write_probability((1 / (1 + np.exp(-logit))).astype(np.float32), study.label(case), path)
                files[f"{prefix}{kind}_{condition}"] = Files(image=path)
            rows += rows_of_case(case, study.label(case), files, repeat, fold.number, f"{prefix}told")
    return rows


def main() -> None:
    """Do what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, required=True, help="work folder of study.py")
    parser.add_argument("--work", type=Path, required=True, help="that of patient_text.py")
    parser.add_argument("--labels", choices=list(DATASETS), default="mimics", help="the rendering (default: mimics)")
    parser.add_argument("what", choices=["maps", "keep"])
    parser.add_argument("fold", nargs="?", type=int, default=0)
    parser.add_argument("repeat", nargs="?", type=int, default=1)
    args = parser.parse_args()
    study = Study(args.study, args.work, args.labels)
    use_folders(args.work)
    if args.what == "maps":
        find(study, args.fold, args.repeat)
        return
    for labels, repeat in product(DATASETS, (1, 2)):
        one = replace(study, labels=labels)
        if all(maps_file(one, fold, repeat).is_file() for fold in range(FOLDS)):
            for kind in KINDS[labels]:
                keep_rows(CASES, rows_with_prior(one, repeat, kind))


if __name__ == "__main__":
    main()
