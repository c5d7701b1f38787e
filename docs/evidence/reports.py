"""What reports are worth beside a few masks (docs/reports.md): trainings, and the cases of reports.csv.

    python docs/evidence/reports.py --study FOLDER --work FOLDER --marksheet FILE prepare
    python docs/evidence/reports.py --study FOLDER --work FOLDER --marksheet FILE train ROW FOLD
    python docs/evidence/reports.py --study FOLDER --work FOLDER --marksheet FILE keep

FOLDER of --study is that of study.py (rendered bpMRI of real anatomy, preprocessed); of each of its folds' training
cases, MASKS keep their outlines, half of them with a lesion, and the others have a report only. A report counts the
lesions that the marksheet's histology found; where they are and how large comes from a simulated reader (reader.py)
with errors, stated in report_datasets.py, as are the rows. Every row learns for the same number of iterations and is
validated on the same outlined cases.
"""

from __future__ import annotations

import argparse
import random
from itertools import product
from pathlib import Path
from typing import Any

from reader import Reader, lesions_of, misread
from report_datasets import MASKS, PLANS, READERS, ROWS, Study, make_ignored, make_labels, make_outlined
from rows import FOLDS, keep_rows, rows_of_case, train_fold, use_folders

from nnunetv2_textguided.anatomy.sectors import Sector
from nnunetv2_textguided.evaluation.predictions import find_predictions
from nnunetv2_textguided.files import write_json
from nnunetv2_textguided.picai.marksheet import read_marksheet
from nnunetv2_textguided.picai.report_targets import reported_lesions
from nnunetv2_textguided.text.report_target import LARGEST_MM, SMALLEST_MM, ReportedLesion, ReportTarget

CASES = Path(__file__).with_suffix(".csv")


def prepare(study: Study) -> None:
    """Zone masks without holes, and what the simulated readers report of every case."""
    (study.work / "zones").mkdir(parents=True, exist_ok=True)
    marksheet = read_marksheet(study.marksheet)
    found: dict[str, list[tuple[Sector, float]]] = {}
    for path in sorted((study.raw / "labelsTr").glob("*.nii.gz")):
        case = path.name.removesuffix(".nii.gz")
        found[case] = list(lesions_of(path, study.raw / "anatomyTr" / path.name, study.work / "zones" / path.name))
    for name, reader in READERS.items():
        rng = random.Random(name)
        said = {
            case: report(lesions, reported_lesions(marksheet[case]) or 0, reader, rng).to_json()
            for case, lesions in found.items()
        }
        if name == "permuted":
            cases, targets = list(said), list(said.values())
            rng.shuffle(targets)
            said = dict(zip(cases, targets, strict=True))
        write_json(study.work / f"{name}.json", {case: {"target": target} for case, target in said.items()})


def report(lesions: list[tuple[Sector, float]], counted: int, reader: Reader, rng: random.Random) -> ReportTarget:
    """The target that a reader's report gives."""
    said = []
    for sector, diameter in lesions:
        place = misread(sector, reader, rng)
        measured = diameter * rng.lognormvariate(0, reader.size)
        if place is not None:
            said.append(ReportedLesion(place, round(min(max(measured, SMALLEST_MM), LARGEST_MM), 1)))
    return ReportTarget(counted - (len(lesions) - len(said)), tuple(said))


def train(study: Study, row: str, fold: int) -> None:
    """One row's training in one fold; the model of the outlines alone teaches the others."""
    make_outlined(study, fold)
    name = study.dataset(row, fold)
    if row.startswith("losses"):
        make_ignored(study, row, fold)
    elif row != "masks":
        make_labels(study, row, fold)
    train_fold(name, 0, PLANS, study.validation(row, fold).parent)


def keep(study: Study) -> None:
    """Add every finished training of this number of outlines to reports.csv, which `benchmark compare` reads.

    A row is called ROW_MASKS there.
    """
    table: list[dict[str, Any]] = []
    for row, fold in product(ROWS, range(FOLDS)):
        folder = study.validation(row, fold)
        if (folder / "summary.json").is_file():
            for case, files in find_predictions(folder).items():
                label = study.raw / "labelsTr" / f"{case}.nii.gz"
                table += rows_of_case(case, label, {f"{row}_{study.masks}": files}, study.repeat, fold)
    keep_rows(CASES, table)


def main() -> None:
    """Do what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, required=True, help="work folder of study.py")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is made here")
    parser.add_argument("--marksheet", type=Path, required=True, help="PI-CAI's marksheet.csv")
    parser.add_argument("--masks", type=int, default=MASKS, help="outlined cases (default: %(default)s)")
    parser.add_argument("--repeat", type=int, default=1, help="which training of each row the work folder has (1)")
    parser.add_argument("what", choices=["prepare", "train", "keep"])
    parser.add_argument("row", nargs="?", choices=list(ROWS))
    parser.add_argument("fold", nargs="?", type=int)
    args = parser.parse_args()
    study = Study(args.study, args.work, args.marksheet, args.masks, args.repeat)
    use_folders(args.work)
    if args.what == "train":
        train(study, args.row, args.fold)
    else:
        {"prepare": prepare, "keep": keep}[args.what](study)


if __name__ == "__main__":
    main()
