"""The raw data set of annotated and of report-guided cases, and its folds."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from nnunetv2_textguided.anatomy.labels import KEY, RAW_FOLDER, anatomy_labels
from nnunetv2_textguided.anatomy.sectors import ZONES
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.evaluation.cases import owner_of, read_case_table
from nnunetv2_textguided.files import atomic_path, read_json, write_json
from nnunetv2_textguided.imaging.images import read_image
from nnunetv2_textguided.inference.zones import read_zones
from nnunetv2_textguided.nnunet.folders import PREPROCESSED, required_path
from nnunetv2_textguided.nnunet.labels import IGNORE, Labels, read_labels
from nnunetv2_textguided.nnunet.raw import training_cases
from nnunetv2_textguided.nnunet.splits import SPLITS, check_folds, restrict, with_further, write_splits
from nnunetv2_textguided.text.case_text import JSON_NAME, CaseText, write_case_text

COLUMNS = ("case", "patient", "origin", "reported", "candidates", "confidence", "reason")
CASES = "cases.csv"


@dataclass(frozen=True)
class Annotated:
    """A raw data set with outlines, and maybe with further cases that have none.

    Attributes:
        folder: nnUNet_raw/DatasetXXX_Name.
        description: its dataset.json.
        cases: identifiers of those that have an outline.
        text_only: identifiers of those that have none: their label maps hold nnU-Net's ignore label alone.
        partly_ignored: whether outlined cases have ignored voxels.
        patients: case -> patient, as far as its cases.csv says.
    """

    folder: Path
    description: Mapping[str, Any]
    cases: frozenset[str]
    text_only: frozenset[str] = frozenset()
    partly_ignored: bool = False
    patients: Mapping[str, str] = field(default_factory=dict)

    def patient(self, case: str) -> str:
        """Whose case it is: by the data set's cases.csv, else by the archive's identifiers, else its own."""
        return self.patients.get(case) or owner_of(case)

    @classmethod
    def read(cls, folder: Path) -> Annotated:
        """Of a folder.

        Raises:
            DataError: it is no data set, has no case, or has labels of several values (regions).
        """
        path = folder / "dataset.json"
        description = read_json(path, error=DataError)
        if read_labels(description, path).regions:
            raise DataError(
                "The data set has regions.", where=path, remedy="Pseudo-labels are made of plain labels only."
            )
        if "dataset" in description:
            raise DataError(
                "The data set lists its files itself.", where=path, remedy="Lay it out as imagesTr and labelsTr."
            )
        cases = frozenset(training_cases(folder, description))
        shares = _ignored_shares(folder, cases, description)
        text_only = frozenset(case for case, share in shares.items() if share == 1)
        if not cases - text_only:
            raise DataError("No case of the data set has an outline.", where=folder / "labelsTr")
        table = folder / CASES
        patients = {case: info.patient for case, info in read_case_table(table).items()} if table.is_file() else {}
        partly = any(0 < share < 1 for share in shares.values())
        return cls(folder, description, cases - text_only, text_only, partly, patients)

    @property
    def ending(self) -> str:
        """File ending of images and labels."""
        return str(self.description.get("file_ending", ".nii.gz"))

    @property
    def labels(self) -> Labels:
        """Its labels."""
        return read_labels(self.description, self.folder / "dataset.json")

    @property
    def zones(self) -> Path | None:
        """The folder of its zone masks, if its anatomy is the two zones with their usual values."""
        usual = {name: value for value, name in enumerate(ZONES, start=1)}
        return self.folder / RAW_FOLDER if anatomy_labels(self.description) == usual else None


def _ignored_shares(folder: Path, cases: Collection[str], description: Mapping[str, Any]) -> dict[str, float]:
    """The share of ignored voxels of each case; empty where the data set has no ignore label."""
    ignored = read_labels(description, folder / "dataset.json").ignored
    if ignored is None:
        return {}
    ending = description.get("file_ending", ".nii.gz")
    maps = {case: read_image(folder / "labelsTr" / f"{case}{ending}") for case in cases}
    return {case: float((sitk.GetArrayViewFromImage(read) == ignored).mean()) for case, read in maps.items()}


@dataclass(frozen=True)
class Labelled:
    """What became of one case that has no outline.

    Attributes:
        case: its identifier.
        origin: of its label: "report", "report, placed" (with a lesion that is no candidate of the model), "report
            without lesion", or "left out".
        channels: its image files.
        label: its label map.
        reason: why it was left out, or what of the report was not used.
        reported: lesions that the report counts.
        candidates: that the model found; None: it was not asked.
        confidence: the lowest of the chosen candidates.
    """

    case: str
    origin: str
    channels: tuple[Path, ...] = ()
    label: sitk.Image | None = None
    reason: str = ""
    reported: int | None = None
    candidates: int | None = None
    confidence: float | None = None

    def row(self, patient: str) -> dict[str, Any]:
        """Its row of cases.csv."""
        return {"patient": patient, **{name: getattr(self, name) for name in COLUMNS if name != "patient"}}


def check_target(folder: Path, predictions: str) -> None:
    """Raise DataError if a folder holds something else than a data set that was made here."""
    if folder.exists() and any(folder.iterdir()) and not (folder / predictions).is_dir():
        raise DataError(
            "The folder of the new data set holds something else.", where=folder, remedy="Choose another name with -o."
        )


def write_dataset(
    folder: Path,
    annotated: Annotated,
    labelled: Sequence[Labelled],
    texts: Mapping[str, CaseText],
    zones: Path | None,
) -> None:
    """Write the data set; its dataset.json, without which nnU-Net sees none, last.

    Args:
        folder: of the new raw data set.
        annotated: whose cases keep their labels.
        labelled: further cases; those without a label are listed and left out.
        texts: case text of all.
        zones: folder of zone masks of the further cases, the data set's anatomy; None: it will have none.
    """
    (folder / "dataset.json").unlink(missing_ok=True)
    for name in ("imagesTr", "labelsTr", RAW_FOLDER):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir(parents=True)
    kept = [(one, one.label) for one in labelled if one.label is not None]
    anatomy = KEY in annotated.description and zones is not None
    for case in sorted(annotated.cases):
        for path in _files(annotated, case):
            _place(path, folder / path.parent.name / path.name)
    for one, label in kept:
        _write_labelled(folder, one, label, annotated.ending, zones if anatomy else None)
    if not anatomy:
        shutil.rmtree(folder / RAW_FOLDER)
    cases = annotated.cases | {one.case for one, _ in kept}
    write_case_text(folder / JSON_NAME, {case: text for case, text in texts.items() if case in cases})
    _write_cases(folder / CASES, annotated, labelled)
    _write_folds(folder.name, annotated, [one.case for one, _ in kept])
    description = {key: value for key, value in annotated.description.items() if key != KEY or anatomy}
    if not annotated.partly_ignored:  # with every text-only case labelled or left out, nothing is ignored any more
        description["labels"] = {name: value for name, value in description["labels"].items() if name != IGNORE}
    write_json(folder / "dataset.json", {**description, "name": folder.name, "numTraining": len(cases)})


def _write_labelled(folder: Path, one: Labelled, label: sitk.Image, ending: str, zones: Path | None) -> None:
    for path in one.channels:
        _place(path, folder / "imagesTr" / path.name)
    sitk.WriteImage(label, str(folder / "labelsTr" / f"{one.case}{ending}"), True)
    if zones is not None:
        mask = sitk.GetImageFromArray(read_zones(zones, one.case, label).astype(np.uint8))
        mask.CopyInformation(label)
        sitk.WriteImage(mask, str(folder / RAW_FOLDER / f"{one.case}{ending}"), True)


def _files(annotated: Annotated, case: str) -> list[Path]:
    images = sorted((annotated.folder / "imagesTr").glob(f"{case}_[0-9][0-9][0-9][0-9]{annotated.ending}"))
    others = [annotated.folder / name / f"{case}{annotated.ending}" for name in ("labelsTr", RAW_FOLDER)]
    return [*images, *(path for path in others if path.is_file())]


def _place(source: Path, target: Path) -> None:
    """The file under another name: images of thousands of patients are linked where the disk allows it."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def _write_cases(path: Path, annotated: Annotated, labelled: Sequence[Labelled]) -> None:
    everyone = [*(Labelled(case, "annotated") for case in annotated.cases), *labelled]
    rows = [one.row(annotated.patient(one.case)) for one in everyone]
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda row: str(row["case"])))


def _write_folds(name: str, annotated: Annotated, further: Sequence[str]) -> None:
    """Each fold validates what it validated before, and learns from every further patient that it does not validate."""
    preprocessed = required_path(PREPROCESSED)
    target = preprocessed / name / SPLITS
    target.parent.mkdir(parents=True, exist_ok=True)
    sources = [folder / SPLITS for folder in (preprocessed / annotated.folder.name, annotated.folder)]
    source = next(filter(Path.is_file, sources), None)
    if source is not None:
        splits = restrict(check_folds(source, annotated.cases | annotated.text_only), annotated.cases)
    else:  # nnU-Net has yet to make them: the same ones
        write_splits(target, sorted(annotated.cases))
        splits = check_folds(target, annotated.cases)
    write_json(target, with_further(splits, further, annotated.patient))
