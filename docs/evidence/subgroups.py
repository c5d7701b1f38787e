"""Subgroups, calibration and decision curve of docs/evidence.md, for answers.py; and the table that divides the cases.

    python docs/evidence/subgroups.py RAW MARKSHEET

makes cases.csv: of each case of the study's raw data set (labelsTr, anatomyTr) its patient, the centre and ISUP grade
of PI-CAI's marksheet, the zone that holds most of its lesions, and their volume. PI-CAI's masks and marksheet are CC
BY-NC 4.0; no mask is kept here.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import refiner
import SimpleITK as sitk
from differences import names_of

from nnunetv2_textguided.benchmark.report.probabilities import calibration_cells
from nnunetv2_textguided.evaluation.calibration import (
    QUANTITIES,
    calibration,
    cross_fit,
    net_benefit,
    over_trainings,
    reliability,
)
from nnunetv2_textguided.evaluation.case_files import CaseFile
from nnunetv2_textguided.evaluation.cases import patient_of
from nnunetv2_textguided.evaluation.difference import Difference
from nnunetv2_textguided.evaluation.strata import volume_groups
from nnunetv2_textguided.evaluation.threshold_comparison import ThresholdComparison
from nnunetv2_textguided.evaluation.trainings import folds_of_means
from nnunetv2_textguided.evaluation.zones import lesion_zone
from nnunetv2_textguided.files import atomic_path
from nnunetv2_textguided.picai.marksheet import read_marksheet

TABLE = Path(__file__).with_name("cases.csv")
ZONES = {"peripheral zone": 1, "transition zone": 2}
EDGES = (0.5, 1.5)
"""Limits between groups of lesion volume, mL."""
GUIDED, NO_TEXT = "anatomy_strong_feedback_no_refiner_again", "no_text_again"
MODELS = {
    NO_TEXT: "no text",
    GUIDED: "default without its refiner",
    "tokens_none": "trained with sentences, asked without",
    "tokens_reader": "reader's sentence",
}
THRESHOLDS = (0.1, 0.2, 0.3, 0.4)
LEVEL = 0.95


def blocks(cases: CaseFile) -> dict[str, str]:
    """Name -> table of the page."""
    return {
        "subgroups": "\n".join(_subgroups(cases)),
        "calibration": "\n".join(_calibration(cases)),
        "reliability": "\n".join(_reliability(cases)),
        "decisions": "\n".join(_decisions(cases)),
    }


def groups() -> dict[str, set[str]]:
    """Subgroup of the cases with a lesion -> their names."""
    table = pd.read_csv(TABLE, dtype={"ISUP": "Int64"})
    table = table[table["volume_ml"] > 0].set_index("case")
    volumes = volume_groups(table["volume_ml"].to_numpy(), EDGES)
    found = {f"volume {name}": set(table.index[inside]) for name, inside in volumes.items()}
    for column, title in (("zone", "{}"), ("ISUP", "ISUP {}"), ("centre", "centre {}")):
        for value, rows in table.groupby(column):
            found[title.format(value)] = set(rows.index)
    return found


def _subgroups(cases: CaseFile) -> Iterator[str]:
    study = pd.read_csv(refiner.TABLE)
    differences = (
        "default without its refiner minus no text | refiner on minus off, NSD | reader's sentence minus another's"
    )
    yield f"| cases with csPCa | number | Dice, no text | {differences} |"
    yield "|---|---|---|---|---|---|"
    pairs = [(GUIDED, NO_TEXT), ("tokens_reader", "tokens_other")]
    compared = [(cases.at_thresholds(*pair), names_of(cases, *pair)) for pair in pairs]
    for name, chosen in {"all": set(study.case), **groups()}.items():
        own = study.assign(nsd=study.nsd.where(study.case.isin(chosen)))
        gain = refiner.Study(own).difference(lambda *_: refiner.ON, lambda *_: refiner.OFF, "nsd", True)
        (guided, level), (told, _) = (_fitted(*one, chosen) for one in compared)
        cells = (f"{level:.3f}", _text(guided), _text(gain), _text(told))
        yield f"| {name} | {guided.cases} | {' | '.join(cells)} |"


def _fitted(found: ThresholdComparison, names: list[str], chosen: set[str]) -> tuple[Difference, float]:
    """Of Dice in a subgroup at thresholds fitted on all cases of the other folds; and the baseline's own."""
    outside = np.array([name not in chosen for name in names])
    ours, theirs = (np.where(outside, np.nan, one.dice_fitted) for one in (found.model, found.baseline))
    patients = [patient_of(name) for name in names]
    folds = folds_of_means(ours, theirs, found.model.folds, patients, found.fitted.same)
    return Difference(tuple(folds)), float(np.nanmean(theirs))


def _scores(cases: CaseFile, model: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[str, ...]]:
    """Scores (R, C), whether a case has a lesion, fold and patient (C,)."""
    own = cases.rows[cases.rows["model"] == model]
    scores = own.pivot(index="repeat", columns="case", values="score").dropna()  # of repeats that have all folds
    first = own.drop_duplicates("case").set_index("case").loc[scores.columns]
    patients = tuple(map(str, first["patient"]))
    return scores.to_numpy(dtype=float), first["lesions"].to_numpy() > 0, first["fold"].to_numpy(), patients


def _calibration(cases: CaseFile) -> Iterator[str]:
    yield f"| | of | {' | '.join(QUANTITIES.values())} |\n|---|---|{'---|' * len(QUANTITIES)}"
    for model, title in MODELS.items():
        scores, positive, folds, patients = _scores(cases, model)
        for of, predicted in (("score", scores), ("likelihood", cross_fit(scores, positive, folds))):
            every = calibration(predicted, positive)
            found = {name: over_trainings(one, folds, patients, LEVEL) for name, one in every.items()}
            yield f"| {title} | {of} | {' | '.join(f'{value} {ends}' for value, ends in calibration_cells(found))} |"


def _reliability(cases: CaseFile) -> Iterator[str]:
    yield f"| | {' | '.join(MODELS.values())} |\n|---|{'---|' * len(MODELS)}"
    made = []
    for model in MODELS:
        scores, positive, folds, _ = _scores(cases, model)
        made.append(reliability(cross_fit(scores, positive, folds), positive, LEVEL))
    for number in range(max(map(len, made))):
        bins = [one[number] if number < len(one) else None for one in made]
        cells = [f"{b.predicted:.2f}: {b.observed:.2f} [{b.low:.2f}, {b.high:.2f}]" if b else "" for b in bins]
        yield f"| {number + 1} | {' | '.join(cells)} |"


def _decisions(cases: CaseFile) -> Iterator[str]:
    yield f"| biopsy from | for all | {' | '.join(MODELS.values())} |\n|---|---|{'---|' * len(MODELS)}"
    limits = np.array(THRESHOLDS)
    for number, limit in enumerate(THRESHOLDS):
        cells = []
        for model in MODELS:
            scores, positive, folds, patients = _scores(cases, model)
            own = net_benefit(cross_fit(scores, positive, folds), positive, limits)[number]
            everyone = net_benefit(np.ones((1, positive.size)), positive, limits)[number]
            cells.append(_text(over_trainings(own, folds, patients, LEVEL, everyone)))
        yield f"| {limit:.0%} | {everyone.mean():.3f} | {' | '.join(cells)} |"


def _text(found: Difference) -> str:
    ends = "" if np.isnan(found.ends.low) else f" [{found.ends.low:+.3f}, {found.ends.high:+.3f}]"
    return f"{found.value:+.3f}{ends}"


def facts(raw: Path, marksheet: Path) -> pd.DataFrame:
    """The rows of cases.csv."""
    sheet, rows = read_marksheet(marksheet), []
    for path in sorted((raw / "labelsTr").glob("*.nii.gz")):
        case = path.name.removesuffix(".nii.gz")
        label, mask = (sitk.ReadImage(str(one)) for one in (path, raw / "anatomyTr" / path.name))
        lesion, spacing = sitk.GetArrayFromImage(label) == 1, label.GetSpacing()
        zone = lesion_zone(lesion, sitk.GetArrayFromImage(mask), ZONES, spacing[::-1])
        known = {"centre": sheet[case].centre, "ISUP": sheet[case].isup, "zone": zone}
        volume = round(float(lesion.sum() * np.prod(spacing) / 1000), 4)
        rows.append({"case": case, "patient": patient_of(case), **known, "volume_ml": volume})
    return pd.DataFrame(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("raw", type=Path, help="the study's raw data set")
    parser.add_argument("marksheet", type=Path, help="PI-CAI's marksheet.csv")
    args = parser.parse_args()
    with atomic_path(TABLE) as partial:
        facts(args.raw, args.marksheet).to_csv(partial, index=False)
