"""The study of reports (reports.py): its readers, its rows, and the data sets that these learn from."""

from __future__ import annotations

import csv
import os
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import SimpleITK as sitk
from reader import Reader
from rows import FOLDS, run

from nnunetv2_textguided.files import read_json, write_json

SOURCE = "Dataset501_Lesion"
PLANS = "nnUNetPlans_no_text"
"""No text in the network: what is learned here is learned by any trainer."""
MASKS = 8

READERS = {"reader": Reader(), "doubled": Reader(0.4, 0.1, 0.1, 0.4), "permuted": Reader()}
ROWS: dict[str, tuple[str, tuple[str, ...]]] = {
    "masks": ("", ()),
    "reports": ("reader", ("count", "sector", "diameter")),
    "place": ("reader", ("count", "sector")),
    "count": ("reader", ("count",)),
    "doubled": ("doubled", ("count", "sector", "diameter")),
    "permuted": ("permuted", ("count", "sector", "diameter")),
    "candidates": ("reader", ("count", "sector", "diameter")),
    "losses": ("reader", ("count", "sector", "diameter")),
    "losses_permuted": ("permuted", ("count", "sector", "diameter")),
    "second": ("reader", ("count", "sector", "diameter")),
    "losses_doubled": ("doubled", ("count", "sector", "diameter")),
    "losses_place": ("reader", ("count", "sector")),
    "losses_count": ("reader", ("count",)),
}
"""Row -> reader and the words that are used; "masks": no report at all. In "candidates", a patient with a reported
lesion that is no candidate of the model is left out; "losses" are made of the reports in one training; "second" is
another round: the student of "reports" makes the pseudo-labels. Positions are part of data sets' numbers."""


@dataclass(frozen=True)
class Study:
    """Where everything is.

    Attributes:
        source: work folder of study.py, with raw and preprocessed.
        work: folder for nnU-Net's three folders, the reports and the images without outlines.
        marksheet: PI-CAI's.
        masks: number of cases of a fold's training part that keep their outlines.
        repeat: which training of each row the work folder has, from 1; each draws outlined cases anew.
    """

    source: Path
    work: Path
    marksheet: Path
    masks: int = MASKS
    repeat: int = 1

    @property
    def raw(self) -> Path:
        """The source's raw data set."""
        return self.source / "raw" / SOURCE

    @property
    def preprocessed(self) -> Path:
        """The source's preprocessed data set."""
        return self.source / "preprocessed" / SOURCE

    def dataset(self, row: str, fold: int) -> str:
        """Name of a row's data set: its number tells row and fold."""
        return f"Dataset{600 + 10 * list(ROWS).index(row) + fold}_{row.capitalize()}{self.masks}"

    def validation(self, row: str, fold: int) -> Path:
        """Folder of a training's validation."""
        model = f"nnUNetTrainerAlignRefine__{PLANS}__3d_fullres"
        return self.work / "results" / self.dataset(row, fold) / model / "fold_0" / "validation"

    def split(self, fold: int) -> dict[str, list[str]]:
        """The fold's outlined training cases, the others, and the validation's."""
        cases = read_json(self.preprocessed / "splits_final.json", error=ValueError)[fold]
        lesions = {row["id"]: int(row["n_lesions"]) for row in _rows(self.raw / "cases.csv")}
        chosen: list[str] = []
        for positive, number in ((True, (self.masks + 1) // 2), (False, self.masks // 2)):
            group = sorted(case for case in cases["train"] if (lesions[case] > 0) == positive)
            chosen += random.Random(fold + FOLDS * (self.repeat - 1)).sample(group, number)
        others = sorted(set(cases["train"]) - set(chosen))
        return {"outlined": sorted(chosen), "others": others, "val": sorted(cases["val"])}


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def make_outlined(study: Study, fold: int) -> None:
    """The data set of the outlined cases, on the source's preprocessed images, and the folder of the others' images."""
    name, split = study.dataset("masks", fold), study.split(fold)
    raw, preprocessed = study.work / "raw" / name, study.work / "preprocessed" / name
    if (preprocessed / "splits_final.json").is_file():
        return
    kept = [*split["outlined"], *split["val"]]
    for folder, cases in ((raw / "imagesTr", kept), (study.work / f"others{fold}_{study.masks}", split["others"])):
        for case in cases:
            _link(study.raw / "imagesTr", folder, f"{case}_*")
    for case in kept:
        _link(study.raw / "labelsTr", raw / "labelsTr", f"{case}.nii.gz")
        _link(study.preprocessed / "nnUNetPlans_3d_fullres", preprocessed / "nnUNetPlans_3d_fullres", f"{case}*")
        _link(study.preprocessed / "gt_segmentations", preprocessed / "gt_segmentations", f"{case}.nii.gz")
    description = {**read_json(study.raw / "dataset.json", error=ValueError), "numTraining": len(kept), "name": name}
    description.pop("anatomy")
    for folder in (raw, preprocessed):
        write_json(folder / "dataset.json", description)
    copy_plans(study, name)
    write_json(preprocessed / "splits_final.json", [{"train": split["outlined"], "val": split["val"]}])


def copy_plans(study: Study, name: str, settings: Mapping[str, Any] = MappingProxyType({})) -> None:
    """The study's plans, for another data set, with further settings."""
    plans = read_json(study.preprocessed / f"{PLANS}.json", error=ValueError)
    plans["configurations"]["3d_fullres"]["text_guidance"] |= settings
    folder = study.work / "preprocessed" / name
    write_json(folder / f"{PLANS}.json", {**plans, "dataset_name": name})
    shutil.copy(study.preprocessed / "dataset_fingerprint.json", folder)


def _link(source: Path, target: Path, pattern: str) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for path in source.glob(pattern):
        if not (target / path.name).exists():
            os.link(path.resolve(), target / path.name)


def using(text: Mapping[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """A case's text with nothing but these words of its target."""
    kept = {"diameter_mm"} if "diameter" in words else set()
    kept |= {"zone", "side", "level", "depth"} if "sector" in words else set()
    said = [{key: one[key] for key in one if key in kept} for one in text["target"].get("findings", ())]
    target = {"lesions": text["target"]["lesions"]}
    return {"target": target | {"findings": said} if any(said) else target}


def make_ignored(study: Study, row: str, fold: int) -> None:
    """The data set in which the others have the ignore label everywhere, zones, and a report; preprocessed."""
    name, split = study.dataset(row, fold), study.split(fold)
    raw, preprocessed = study.work / "raw" / name, study.work / "preprocessed" / name
    if (preprocessed / "splits_final.json").is_file():
        return
    kept = [*split["outlined"], *split["val"]]
    for case in [*kept, *split["others"]]:
        _link(study.raw / "imagesTr", raw / "imagesTr", f"{case}_*")
        _link(study.work / "zones", raw / "anatomyTr", f"{case}.nii.gz")
    for case in kept:
        _link(study.raw / "labelsTr", raw / "labelsTr", f"{case}.nii.gz")
    for case in split["others"]:
        image = sitk.ReadImage(str(study.raw / "labelsTr" / f"{case}.nii.gz"))
        sitk.WriteImage(image * 0 + 2, str(raw / "labelsTr" / f"{case}.nii.gz"), True)
    reader, words = ROWS[row]
    reports = read_json(study.work / f"{reader}.json", error=ValueError)
    write_json(raw / "case_text.json", {case: using(reports[case], words) for case in split["others"]})
    description = read_json(study.raw / "dataset.json", error=ValueError)
    labels = {**description["labels"], "ignore": 2}
    number = len(kept) + len(split["others"])
    for folder in (raw, preprocessed):
        write_json(folder / "dataset.json", {**description, "labels": labels, "numTraining": number, "name": name})
    copy_plans(study, name, {"text": {"supervision": {"enabled": True}}})
    run("nnUNetv2_preprocess", "-d", name[7:10], "-plans_name", PLANS, "-c", "3d_fullres", "-np", "1")
    run("nnUNetv2_textguided", "anatomy", "-d", name[7:10], "-p", PLANS, "-np", "1")
    learned = sorted([*split["outlined"], *split["others"]])
    write_json(preprocessed / "splits_final.json", [{"train": learned, "val": split["val"]}])


def make_labels(study: Study, row: str, fold: int) -> None:
    """Pseudo-labels of the others, preprocessed. What was predicted for another row is the same model's, and used."""
    name, (reader, words) = study.dataset(row, fold), ROWS[row]
    raw, preprocessed = study.work / "raw" / name, study.work / "preprocessed" / name
    if (preprocessed / "gt_segmentations").is_dir():
        return
    others = [] if row == "second" else [other for other in ROWS if other not in (row, "second")]
    for folder in (study.work / "raw" / study.dataset(other, fold) / "pseudo_labels" for other in others):
        if folder.is_dir() and not (raw / "pseudo_labels").is_dir():
            shutil.copytree(folder, raw / "pseudo_labels")
    images = str(study.work / f"others{fold}_{study.masks}")
    model = str(study.validation("reports" if row == "second" else "masks", fold).parent.parent)
    reports = read_json(study.work / f"{reader}.json", error=ValueError)
    of_fold = study.work / f"{reader}_{fold}_{study.masks}.json"
    write_json(of_fold, {case: reports[case] for case in study.split(fold)["others"]})
    what = ["--case-text", str(of_fold), "--words", *words, "--zones", str(study.work / "zones")]
    where = ["-d", study.dataset("masks", fold)[7:10], "-m", model, "-f", "0", "-i", images, "-o", name]
    matched = ["--unmatched", "leave-out" if row == "candidates" else "place"]
    run("nnUNetv2_textguided", "pseudo-label", *where, *what, "--device", "cpu", "-npp", "1", "-nps", "1", *matched)
    shutil.copy(raw / "dataset.json", preprocessed)
    copy_plans(study, name)
    run("nnUNetv2_preprocess", "-d", name[7:10], "-plans_name", PLANS, "-c", "3d_fullres", "-np", "1")
