"""An evaluation as a readable table, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nnunetv2_textguided.evaluation.estimates import Estimate
from nnunetv2_textguided.files import json_value, write_json, write_text
from nnunetv2_textguided.picai.evaluation import Evaluation

TITLES = {
    "auroc": "AUROC (case)",
    "ap": "AP (lesion)",
    "picai_score": "PI-CAI score",
    "sensitivity_at_0.5_fp": "lesion sensitivity at 0.5 FP/case",
    "sensitivity_at_1_fp": "lesion sensitivity at 1 FP/case",
    "sensitivity_at_2_fp": "lesion sensitivity at 2 FP/case",
    "dice": "Dice",
    "precision": "precision (voxel)",
    "recall": "recall (voxel)",
    "nsd_1mm": "NSD at 1 mm",
    "nsd_2mm": "NSD at 2 mm",
    "hd95": "HD95 [mm]",
}


def table(evaluation: Evaluation) -> str:
    """The evaluation as a text table, with everything that a reader has to know to interpret it."""
    return "\n".join(_lines(evaluation)) + "\n"


def _lines(evaluation: Evaluation) -> Iterator[str]:
    scoring, resampling, cases = evaluation.scoring, evaluation.resampling, evaluation.table
    positive, lesions = (cases.lesions > 0).sum(), cases.lesions.sum()
    yield f"{len(cases.infos)} cases, {positive} with {evaluation.target.name}, {lesions} lesions"
    for kind, number in Counter(score.kind for score in cases.lists[0]).items():
        yield f"predictions: {number} x {kind.value}"
    if evaluation.failed:
        yield f"ATTENTION: {len(evaluation.failed)} cases could not be scored and are in no number below."
    if evaluation.unpredicted:
        yield f"ATTENTION: {len(evaluation.unpredicted)} labels have no prediction and are in no number below."
    yield f"lesion extraction: {scoring.extraction}; hit: IoU of at least 0.10 (picai_eval)"
    yield f"empty masks: {scoring.empty.value}: {scoring.empty.description}"
    yield f"HD95: {scoring.missed.value}: {scoring.missed.description}"
    yield ""
    yield f"{'metric':<34}{'value':>9}  {resampling.level:.0%} interval      cases"
    for name, estimate in {**evaluation.detection, **evaluation.overlap}.items():
        yield f"{TITLES[name]:<34}{_number(name, estimate.value):>9}  {_ends(name, estimate):<18}{estimate.cases:>7}"
    yield ""
    yield (
        f"intervals: percentile bootstrap over patients, {resampling.resamples} replicates, seed {resampling.seed}; "
        "replicates in which a metric is undefined are left out"
    )
    if math.isnan(evaluation.detection["auroc"].value):
        yield "AUROC is undefined: it needs cases with and without the target."


def _number(name: str, value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.2f}" if name == "hd95" else f"{value:.4f}"


def _ends(name: str, estimate: Estimate) -> str:
    return f"[{_number(name, estimate.interval.low)}, {_number(name, estimate.interval.high)}]"


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """The evaluation as JSON values; undefined numbers are null."""
    scoring, resampling, cases = evaluation.scoring, evaluation.resampling, evaluation.table
    return json_value(
        {
            "target": {"name": evaluation.target.name, "values": sorted(evaluation.target.values)},
            "cases": len(cases.infos),
            "positive_cases": int((cases.lesions > 0).sum()),
            "lesions": int(cases.lesions.sum()),
            "failed": {case: str(error) for case, error in evaluation.failed.items()},
            "without_prediction": list(evaluation.unpredicted),
            "conventions": {
                "lesion_extraction": scoring.extraction,
                "mask_threshold": scoring.mask_threshold,
                "empty_masks": {"name": scoring.empty.value, "meaning": scoring.empty.description},
                "hd95_of_missed": {"name": scoring.missed.value, "meaning": scoring.missed.description},
                "interval": {"level": resampling.level, "replicates": resampling.resamples, "seed": resampling.seed,
                             "method": "percentile bootstrap over patients"},
            },
            "detection": {name: _estimate(e) for name, e in evaluation.detection.items()},
            "overlap": {name: _estimate(e) for name, e in evaluation.overlap.items()},
        }
    )  # fmt: skip


def _estimate(estimate: Estimate) -> dict[str, Any]:
    ends = estimate.interval
    return {
        "value": estimate.value,
        "low": ends.low,
        "high": ends.high,
        "cases": estimate.cases,
        "valid_replicates": ends.valid,
    }


def write_report(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Write the evaluation as JSON, CSV and text, and picai_eval's own file; returns the paths."""
    texts = {
        "evaluation.txt": table(evaluation),
        "evaluation.csv": _metrics(evaluation),
        "per_case.csv": _per_case(evaluation),
        "candidates.csv": _candidates(evaluation),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    write_json(folder / "evaluation.json", as_json(evaluation))
    # In picai_eval's own format, so that picai_eval.Metrics(file) reads it back for its curves.
    metrics = folder / "picai_eval_metrics.json"
    write_json(metrics, json_value(evaluation.metrics.minimal_dict()))
    return [*(folder / name for name in texts), folder / "evaluation.json", metrics]


def _metrics(evaluation: Evaluation) -> str:
    rows = (
        (name, e.value, e.interval.low, e.interval.high, e.cases)
        for name, e in {**evaluation.detection, **evaluation.overlap}.items()
    )
    return _csv(("metric", "value", "low", "high", "cases"), rows)


def _per_case(evaluation: Evaluation) -> str:
    rows = list(evaluation.table.rows())
    return _csv(tuple(rows[0]), (row.values() for row in rows))


def _candidates(evaluation: Evaluation) -> str:
    rows = ((case, *candidate) for case, score in evaluation.cases.items() for candidate in score.candidates)
    return _csv(("case", "is_lesion", "confidence", "overlap"), rows)


def _csv(header: tuple[str, ...], rows: Any) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([["" if isinstance(v, float) and math.isnan(v) else v for v in row] for row in rows])
    return buffer.getvalue()
