"""Results by subgroup: fold, centre, ISUP grade, PI-RADS, zone, lesion volume."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from nnunetv2_textguided.evaluation.bootstrap import Interval, interval
from nnunetv2_textguided.evaluation.difference import Difference
from nnunetv2_textguided.evaluation.estimates import Estimate, macro_detection, mean_estimate
from nnunetv2_textguided.evaluation.metrics import DASH, OVERLAP
from nnunetv2_textguided.evaluation.results import Results
from nnunetv2_textguided.evaluation.trainings import folds_of_means
from nnunetv2_textguided.nnunet.variant import Variant

FOUND = "lesions_found"
RATE = 1.0  # false positives per case, over all cases, at which lesions count as found


@dataclass(frozen=True)
class Stratum:
    """One subgroup.

    Attributes:
        by: what divides the cases, such as "centre".
        name: the subgroup, such as "RUMC".
        cases: (C,) whether each case is in it.
        positives: how many of them have a lesion.
        table: variant -> metric -> estimate. AUROC and AP are of the subgroup alone; `lesions_found` is the share of
            its lesions that are found with the confidence at which the whole set has one false positive per case.
        differences: variant -> overlap metric -> difference to the baseline, over patients and trainings. Exploratory:
            there are many subgroups, and nothing is corrected for their number.
    """

    by: str
    name: str
    cases: np.ndarray
    positives: int
    table: Mapping[Variant, Mapping[str, Estimate]]
    differences: Mapping[Variant, Mapping[str, Difference]]


def stratify(
    results: Results, baseline: Variant, weights: np.ndarray, level: float, edges: tuple[float, ...]
) -> list[Stratum]:
    """All subgroups that the data set allows; a division into a single group says nothing and is left out.

    Args:
        results: the scores.
        baseline: what the others are compared with.
        weights: (R, C) bootstrap replicates.
        level: nominal coverage.
        edges: limits between groups of lesion volume in mL; empty: terciles.
    """
    thresholds = {variant: _threshold(results, variant) for variant in results.variants}
    strata = []
    for by, groups in _divisions(results, edges):
        if len(groups) < 2:
            continue
        for name, chosen in groups.items():
            table = {v: _estimates(results, v, chosen, weights, level, thresholds[v]) for v in results.variants}
            differences = {v: _differences(results, v, baseline, chosen, level)
                           for v in results.variants if v != baseline}  # fmt: skip
            strata.append(Stratum(by, name, chosen, int((results.lesions[chosen] > 0).sum()), table, differences))
    return strata


def _differences(
    results: Results, variant: Variant, baseline: Variant, chosen: np.ndarray, level: float
) -> dict[str, Difference]:
    folds, patients = results.folds[chosen], np.asarray(results.patients)[chosen]
    found, same = {}, results.same_networks(variant, baseline)
    for metric in OVERLAP:
        ours, theirs = (results.tables[v].overlap_of_repeats[metric.name][:, chosen] for v in (variant, baseline))
        found[metric.name] = Difference(tuple(folds_of_means(ours, theirs, folds, patients.tolist(), same)), level)
    return found


def _divisions(results: Results, edges: tuple[float, ...]) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    yield "fold", _groups([str(fold) for fold in results.folds])
    yield "centre", _groups([info.centre for info in results.infos])
    yield "ISUP", _groups(["" if i.isup is None else str(i.isup) for i in results.infos])
    yield "PI-RADS", _groups(["" if i.pirads is None else str(i.pirads) for i in results.infos])
    yield "zone", _groups([info.zone for info in results.infos])
    yield "lesion volume", volume_groups(results.reference_ml, edges)


def _groups(values: list[str]) -> dict[str, np.ndarray]:
    array = np.array(values)
    return {name: array == name for name in sorted({value for value in values if value})}


def volume_groups(volumes: np.ndarray, edges: tuple[float, ...] = ()) -> dict[str, np.ndarray]:
    """Groups of the cases with a lesion by its volume (C,) in mL, named by their limits; without edges terciles."""
    positive = volumes > 0
    if not positive.any():
        return {}
    chosen = sorted(set(edges)) if edges else sorted(set(np.quantile(volumes[positive], (1 / 3, 2 / 3)).tolist()))
    limits = [0.0, *chosen, math.inf]
    groups = {}
    for low, high in itertools.pairwise(limits):
        inside = positive & (volumes > low) & (volumes <= high)
        between = f"{low:.3g}{DASH}{high:.3g} mL" if low else f"up to {high:.3g} mL"
        name = f"over {low:.3g} mL" if math.isinf(high) else between
        if inside.any():
            groups[name] = inside
    return groups


def _estimates(
    results: Results, variant: Variant, chosen: np.ndarray, weights: np.ndarray, level: float, threshold: list[float]
) -> dict[str, Estimate]:
    inside = weights[:, chosen]
    number = int(chosen.sum())
    table = {m.name: mean_estimate(results.overlap[m.name][variant][chosen], inside, level) for m in OVERLAP}
    found = results.found(variant, chosen)
    names = ["auroc", "ap"]
    point = macro_detection(found, np.ones((1, number)), names)
    drawn = macro_detection(found, inside, names)
    for name in names:
        table[name] = Estimate(float(point[name][0]), interval(drawn[name], level), number)
    return table | {FOUND: _found(results, variant, chosen, inside, level, threshold)}


def _found(
    results: Results, variant: Variant, chosen: np.ndarray, weights: np.ndarray, level: float, threshold: list[float]
) -> Estimate:
    index = np.flatnonzero(chosen)
    hits, lesions = np.zeros(index.size), np.zeros(index.size)
    for scores, lowest in zip(results.tables[variant].lists, threshold, strict=True):
        hits += [sum(a.found and a.confidence >= lowest for a in scores[i].lesions) for i in index]
        lesions += [len(scores[i].lesions) for i in index]
    if not lesions.sum():
        return Estimate(math.nan, Interval(math.nan, math.nan, level, 0, len(weights)), 0)
    total = weights @ lesions
    share = np.divide(weights @ hits, total, out=np.full(total.shape, np.nan), where=total > 0)
    return Estimate(float(hits.sum() / lesions.sum()), interval(share, level), int((lesions > 0).sum()))


def _threshold(results: Results, variant: Variant) -> list[float]:
    """For each class, the lowest confidence with at most RATE false positives per case over all cases."""
    lowest = []
    for found in results.found(variant):
        alarms = sorted((c for case in found.candidates for lesion, c, _ in case if not lesion), reverse=True)
        allowed = int(RATE * len(found.candidates))
        # Just above the first false positive that would be one too many.
        lowest.append(float(np.nextafter(alarms[allowed], math.inf)) if len(alarms) > allowed else 0.0)
    return lowest
