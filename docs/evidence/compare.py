"""The tables and the figure of docs/evidence.md from evidence/per_case.csv.

    python docs/evidence/compare.py [--add REPORT_FOLDER --repetition NAME [--labels zones]] [--figure FILE]

Needs the extra `picai`. With --add, the cases of a report that `benchmark report` wrote are first put into the file.

A model's trainings differ by fold and repetition (the file's column: where and when it was trained). Dice, missed
lesions, AUROC and AP are taken within each training and averaged over trainings: confidences of different networks are
not compared. Two intervals say what is known of a difference: over patients, with these trainings as they are, and over
trainings, which differ by chance in initialisation and sampling as well as in fold.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from nnunetv2_textguided.evaluation.bootstrap import draw, interval
from nnunetv2_textguided.files import atomic_path

FILE = Path(__file__).with_name("per_case.csv")
BASE = "nnUNetTrainerAlignRefine"
NAMES, SCREENED = json.loads(Path(__file__).with_name("titles.json").read_text()).values()
"""What a variant of variants.json is called. Screened: the default with one setting changed, trained on few folds."""
ALL = NAMES | SCREENED
TRAINERS = {f"{BASE}_StockNetwork": "stock", f"{BASE}_NoText": "no_text", BASE: "raw", f"{BASE}_RandomText": "random"}
METRICS = {"dice": "Dice", "missed": "missed", "auroc": "AUROC", "ap": "AP of cases"}
REFERENCE, DEFAULT = "no_text", "anatomy_strong_feedback"
REPLICATES, SEED = 2000, 0
HIT = 0.1
"""A lesion whose Dice is below this counts as missed."""

Key = tuple[int, str]
"""Fold and repetition: one training of a model."""


def statistics(training: pd.DataFrame, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Every metric of one training in each replicate.

    Args:
        training: its cases.
        weights: (R, cases) how often each case counts.

    Returns:
        (R,) per metric; NaN where a replicate lacks positive or negative cases.
    """
    positive = training["lesions"].to_numpy() > 0
    dice, score = training["dice"].to_numpy()[positive], training["score"].to_numpy()
    ill, healthy = weights[:, positive].astype(float), weights[:, ~positive].astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        pairs = score[positive][:, None] - score[~positive]
        wins = ((ill @ (np.sign(pairs) + 1) / 2) * healthy).sum(axis=1)
        return {
            "dice": ill @ dice / ill.sum(axis=1),
            "missed": ill @ (dice < HIT) / ill.sum(axis=1),
            "auroc": wins / (ill.sum(axis=1) * healthy.sum(axis=1)),
            "ap": _average_precision(score, positive, weights),
        }


def _average_precision(score: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    order = np.argsort(-score, kind="stable")
    score, positive, weights = score[order], positive[order], weights[:, order].astype(float)
    found, called = (weights * positive).cumsum(axis=1), weights.cumsum(axis=1)
    # Cases of the same confidence are called together.
    last = np.searchsorted(-score, -score, side="right") - 1
    precision = found[:, last] / called[:, last]
    return (weights * positive * np.nan_to_num(precision)).sum(axis=1) / found[:, -1]


class Study:
    """All trainings, with one set of patient replicates for all of them."""

    def __init__(self, rows: pd.DataFrame) -> None:
        cases = rows.drop_duplicates("case").sort_values("case")["case"].to_list()
        self.patients = [case.split("_")[0] for case in cases]
        weights = np.vstack([np.ones((1, len(cases)), np.int32), draw(self.patients, REPLICATES, SEED)])
        position = {case: i for i, case in enumerate(cases)}
        self.size: dict[int, int] = rows.drop_duplicates("case").groupby("fold").size().to_dict()
        self.values: dict[str, dict[Key, dict[str, np.ndarray]]] = {}
        for (model, fold, repetition), training in rows.groupby(["model", "fold", "repetition"]):
            assert len(training) == self.size[fold], (model, fold, repetition)
            chosen = weights[:, [position[case] for case in training["case"]]]
            self.values.setdefault(model, {})[fold, repetition] = statistics(training, chosen)

    def mean(self, model: str, metric: str, folds: Iterable[int]) -> np.ndarray:
        """(1 + R,) mean over these folds, by their number of cases, and over the repetitions of each."""
        own = {fold: [v[metric] for (f, _), v in self.values[model].items() if f == fold] for fold in folds}
        return np.average([np.mean(v, axis=0) for v in own.values()], axis=0, weights=[self.size[f] for f in own])

    def folds(self, *models: str) -> list[int]:
        """The folds that all of these models were trained on."""
        return sorted(set.intersection(*({fold for fold, _ in self.values[m]} for m in models)))

    def collapsed(self) -> set[str]:
        """The models with a training that learned nothing: no voxel of any lesion found."""
        return {m for m, trainings in self.values.items() if any(v["dice"][0] == 0 for v in trainings.values())}

    def between(self, model: str, other: str, metric: str) -> tuple[float, float]:
        """95 % interval of model minus other over trainings: least squares of value ~ fold + model on all trainings.

        What folds and models leave unexplained is the chance in training, taken to be as large for every model but
        those with a collapsed training, which count in their own comparisons alone.
        """
        models = sorted(self.values.keys() - self.collapsed() | {model, other})
        trainings = [(m, fold, v[metric][0]) for m in models for (fold, _), v in self.values[m].items()]
        folds = sorted({fold for _, fold, _ in trainings})
        design = np.array([[m == n for n in models] + [f == k for k in folds[1:]] for m, f, _ in trainings], float)
        values = np.array([value for *_, value in trainings])
        found, *_ = np.linalg.lstsq(design, values, rcond=None)
        freedom = len(values) - design.shape[1]
        variance = np.sum((values - design @ found) ** 2) / freedom
        contrast = np.array([(n == model) - float(n == other) for n in models] + [0.0] * (len(folds) - 1))
        error = (variance * contrast @ np.linalg.inv(design.T @ design) @ contrast) ** 0.5
        half = stats.t.ppf(0.975, freedom) * error
        return float(contrast @ found - half), float(contrast @ found + half)


def cell(values: np.ndarray, sign: str = "") -> str:
    """The estimate (the first value) with the interval of its replicates."""
    bounds = interval(values[1:])
    return f"{values[0]:{sign}.3f} [{bounds.low:{sign}.3f}, {bounds.high:{sign}.3f}]"


def print_models(study: Study, models: list[str]) -> None:
    """One row per model."""
    print(f"| | trainings (folds) | {' | '.join(METRICS.values())} |\n|---|---|{'---|' * len(METRICS)}")
    for model in models:
        folds = study.folds(model)
        cells = " | ".join(cell(study.mean(model, metric, folds)) for metric in METRICS)
        print(f"| {NAMES[model]} | {len(study.values[model])} ({len(folds)}) | {cells} |")


def difference(study: Study, model: str, other: str, metric: str) -> np.ndarray:
    """(1 + R,) model minus other on the folds that both have."""
    folds = study.folds(model, other)
    return study.mean(model, metric, folds) - study.mean(other, metric, folds)


def print_differences(study: Study, models: list[str], other: str) -> None:
    """One row per model against `other`: over patients, and over trainings."""
    _print_head(f"minus {NAMES[other]}")
    for model in models:
        _print_difference(study, ALL[model], model, other)


def print_controls(study: Study, models: list[str]) -> None:
    """The default minus each of these: what a part of it gives."""
    _print_head("default minus")
    for model in models:
        _print_difference(study, NAMES[model], DEFAULT, model)


def print_repetitions(rows: pd.DataFrame, model: str, other: str) -> None:
    """One row per repetition that has all folds of both models, from nothing but its trainings of these two."""
    _print_head(f"{NAMES[model]} minus {NAMES[other]}")
    for repetition, own in rows[rows["model"].isin([model, other])].groupby("repetition"):
        study = Study(own)
        if study.values.keys() == {model, other} and study.folds(model, other) == sorted(set(rows["fold"])):
            _print_difference(study, str(repetition), model, other)


def _print_head(first: str) -> None:
    head = " | ".join(f"{METRICS[m]}, over patients | over trainings" for m in ("dice", "auroc"))
    print(f"| {first} | folds | {head} |\n|---|---|{'---|' * 4}")


def _print_difference(study: Study, name: str, model: str, other: str) -> None:
    cells = []
    for metric in ("dice", "auroc"):
        low, high = study.between(model, other, metric)
        cells += [cell(difference(study, model, other, metric), "+"), f"[{low:+.3f}, {high:+.3f}]"]
    print(f"| {name} | {len(study.folds(model, other))} | {' | '.join(cells)} |")


def draw_figure(study: Study, models: list[str], file: Path) -> None:
    """Differences from the network without text: Dice and AUROC with both intervals."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9.5, 0.34 * len(models) + 1.2), sharey=True, layout="constrained")
    for axis, metric in zip(axes, ("dice", "auroc"), strict=True):
        axis.axvline(0, color="0.6", linewidth=1)
        for place, model in enumerate(reversed(models)):
            values = difference(study, model, REFERENCE, metric)
            bounds = interval(values[1:])
            axis.plot([bounds.low, bounds.high], [place + 0.12] * 2, color="C0", label="over patients")
            low, high = study.between(model, REFERENCE, metric)
            axis.plot([low, high], [place - 0.12] * 2, color="C1", label="over trainings")
            axis.plot(values[0], place, "o", color="0.2", markersize=4)
        axis.set_xlabel(f"{METRICS[metric]} minus no text")
        axis.locator_params(axis="x", nbins=5)
        axis.set_yticks(range(len(models)), [NAMES[m] for m in reversed(models)])
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles[:2], labels[:2], loc="outside upper right", ncols=2, frameon=False)
    figure.savefig(file, dpi=110)


def add(report: Path, repetition: str, labels: str) -> None:
    """Put a report's cases of the label csPCa into the file; what is there already stays."""
    new = pd.read_csv(report / "per_case.csv")
    variant = new["plans"].str.removeprefix("nnUNetPlans").str.removeprefix("_")
    new["model"] = variant.where(variant != "", new["trainer"].map(TRAINERS))
    new = new.assign(labels=labels, repetition=repetition)
    there = pd.read_csv(FILE)
    together = pd.concat([there, new[there.columns]])
    together = together.drop_duplicates(["labels", "model", "repetition", "case"])
    with atomic_path(FILE) as partial:
        together.to_csv(partial, index=False, float_format="%.5g")


def main(arguments: list[str] | None = None) -> None:
    """Add a report, print the tables, draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--add", type=Path, nargs="+", default=[], help="folders that `benchmark report` wrote")
    parser.add_argument("--repetition", default="cpu 1", help="name of these trainings (default: %(default)s)")
    parser.add_argument("--labels", default="lesion", help="what the report's data set segments (default: %(default)s)")
    parser.add_argument("--figure", type=Path, help="where to draw the differences")
    args = parser.parse_args(arguments)
    for report in args.add:
        add(report, args.repetition, args.labels)
    rows = pd.read_csv(FILE)
    study = Study(rows[rows["labels"] == "lesion"])
    models, screened = ([m for m in names if m in study.values] for names in (NAMES, SCREENED))
    others = [model for model in models if model != REFERENCE]
    print_models(study, models)
    print()
    print_differences(study, others, REFERENCE)
    print()
    print_controls(study, [model for model in others if model != DEFAULT])
    print()
    print_differences(study, screened, DEFAULT)
    print()
    print_repetitions(rows[rows["labels"] == "lesion"], DEFAULT, REFERENCE)
    if args.figure:
        draw_figure(study, others, args.figure)


if __name__ == "__main__":
    main()
