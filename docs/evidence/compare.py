"""The tables of docs/evidence.md from evidence/per_case.csv.

    python docs/evidence/compare.py [--add REPORT_FOLDER ...]

Needs the extra `picai`. With --add, the cases of reports that `benchmark report` wrote are first put into the file.
"""

from __future__ import annotations

import argparse
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, roc_auc_score

from nnunetv2_textguided.picai.bootstrap import draw, interval, replicate

FILE = Path(__file__).with_name("per_case.csv")
BASE = "nnUNetTrainerAlignRefine"
NAMES = {
    f"{BASE}_StockNetwork": "stock network, early fusion",
    f"{BASE}_NoText": "one encoder per channel, no text",
    BASE: "AlignRefine",
    f"{BASE}_whitened": "AlignRefine, whitened embeddings",
    f"{BASE}_RandomText": "AlignRefine, random vectors instead of text",
}
REPLICATES, SEED = 2000, 0
METRICS = ("dice", "auroc", "ap")


def statistic(rows: pd.DataFrame, metric: str, chosen: np.ndarray) -> float:
    """Mean Dice over chosen cases with csPCa, or detection over all chosen cases."""
    positive = (rows["lesions"].to_numpy() > 0)[chosen]
    if metric == "dice":
        return float(rows["dice"].to_numpy()[chosen][positive].mean()) if positive.any() else float("nan")
    if positive.all() or not positive.any():
        return float("nan")
    function = roc_auc_score if metric == "auroc" else average_precision_score
    return float(function(positive, rows["score"].to_numpy()[chosen]))


def row(values: list[tuple[float, np.ndarray]], sign: str = "") -> str:
    """Estimates with their intervals, as cells of a table."""
    cells = []
    for value, replicates in values:
        bounds = interval(replicates)
        cells.append(f"{value:{sign}.3f} [{bounds.low:{sign}.3f}, {bounds.high:{sign}.3f}]")
    return " | ".join(cells)


def compare(rows: pd.DataFrame, trainers: list[str], folds: list[int]) -> None:
    """Print one table of every trainer, and one of every pair; all statistics share their replicates."""
    chosen = rows[rows["fold"].isin(folds)]
    tables = {t: chosen[chosen["trainer"] == t].sort_values("case").reset_index(drop=True) for t in trainers}
    cases = next(iter(tables.values()))
    assert all(list(table["case"]) == list(cases["case"]) for table in tables.values())
    patients = cases["case"].str.split("_").str[0]
    weights = draw(list(patients), REPLICATES, SEED)
    every = np.arange(len(cases))
    found = {
        (t, m): (statistic(table, m, every), replicate(lambda c, table=table, m=m: statistic(table, m, c), weights))
        for t, table in tables.items()
        for m in METRICS
    }
    positives = int((cases["lesions"] > 0).sum())
    print(f"\nFolds {folds}: {len(cases)} cases of {patients.nunique()} patients, {positives} with csPCa\n")
    print("| | Dice | AUROC | AP of cases |\n|---|---|---|---|")
    for t in trainers:
        print(f"| {NAMES[t]} | {row([found[t, m] for m in METRICS])} |")
    print("\n| difference | Dice | AUROC | AP of cases |\n|---|---|---|---|")
    for a, b in combinations(trainers, 2):
        pairs = [(found[b, m][0] - found[a, m][0], found[b, m][1] - found[a, m][1]) for m in METRICS]
        print(f"| {NAMES[b]} against {NAMES[a]} | {row(pairs, '+')} |")


def add(report: Path) -> None:
    """Put a report's cases of the label csPCa into the file; what is there already stays."""
    new = pd.read_csv(report / "per_case.csv").assign(arm="lesion")
    new["trainer"] += new["plans"].str.removeprefix("nnUNetPlans")  # a variant of the study, such as _whitened
    there = pd.read_csv(FILE)
    together = pd.concat([there, new[there.columns]]).drop_duplicates(["arm", "trainer", "case"])
    together.to_csv(FILE, index=False, float_format="%.6g")


def main() -> None:
    """Add reports, print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--add", nargs="*", type=Path, default=[], help="folders that `benchmark report` wrote")
    for report in parser.parse_args().add:
        add(report)
    rows = pd.read_csv(FILE)
    rows = rows[rows["arm"] == "lesion"]
    # Trainers with the same folds are compared on them.
    folds = {t: tuple(sorted(rows[rows["trainer"] == t]["fold"].unique())) for t in NAMES}
    for wanted in sorted(set(folds.values()), key=len):
        compare(rows, [t for t in NAMES if set(wanted) <= set(folds[t])], [int(f) for f in wanted])


if __name__ == "__main__":
    main()
