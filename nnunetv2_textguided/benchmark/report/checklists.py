"""The items of two checklists by number, each with what a report knows of it, or "not reported".

CLAIM 2024: Tejani et al., Radiology: Artificial Intelligence 6(4), 2024; numbers and titles were compared with the
checklist that its authors publish. Metrics Reloaded: the properties (FP) of the problem fingerprint that choose
segmentation and detection metrics, Maier-Hein, Reinke et al., Nature Methods 21, 2024; full numbers are those of its
table 1. A property that stands in its supplement only has the number of its group.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nnunetv2_textguided.benchmark.report.analysis import Analysis
from nnunetv2_textguided.evaluation.metrics import METRICS

UNKNOWN = "not reported"

CLAIM = {
    1: "Study of AI methodology, with the technology used",
    2: "Abstract: design, methods, results, conclusions",
    3: "Background, intended use and role of the approach",
    4: "Aims, objectives and hypotheses",
    5: "Prospective or retrospective",
    6: "Study goal",
    7: "Data sources",
    8: "Inclusion and exclusion criteria",
    9: "Data preprocessing",
    10: "Selection of data subsets",
    11: "De-identification",
    12: "How missing data were handled",
    13: "Image acquisition protocol",
    14: "Methods used to obtain the reference standard",
    15: "Rationale for choosing the reference standard",
    16: "Source of reference standard annotations",
    17: "Annotation of the test set",
    18: "Inter- and intrarater variability",
    19: "How data were assigned to partitions",
    20: "Level at which partitions are disjoint",
    21: "Intended sample size",
    22: "Description of the model",
    23: "Software libraries, frameworks and packages",
    24: "Initialisation of model parameters",
    25: "Training approach",
    26: "Method of selecting the final model",
    27: "Ensembling",
    28: "Metrics of model performance",
    29: "Statistical measures of significance and uncertainty",
    30: "Robustness or sensitivity analysis",
    31: "Methods for explainability or interpretability",
    32: "Evaluation on internal data",
    33: "Testing on external data",
    34: "Clinical trial registration",
    35: "Numbers of patients or examinations included and excluded",
    36: "Demographic and clinical characteristics of each partition",
    37: "Performance metrics with their statistical uncertainty",
    38: "Diagnostic performance with its precision",
    39: "Failure analysis",
    40: "Study limitations",
    41: "Implications for practice",
    42: "Full study protocol or further technical details",
    43: "Availability of software, trained model and data",
    44: "Sources of funding and role of funders",
}

METRICS_RELOADED = {
    "category": ("FP1", "Problem category"),
    "boundaries": ("FP2.1", "Particular importance of structure boundaries"),
    "volume": ("FP2.2", "Particular importance of structure volume"),
    "centre": ("FP2.3", "Particular importance of structure centre or centre line"),
    "penalisation": ("FP2.5", "Penalisation of errors"),
    "calibration": ("FP2.7.1", "Calibration assessment requested"),
    "size": ("FP3", "Small size of structures relative to voxel size"),
    "variability": ("FP3", "High variability of structure sizes"),
    "imbalance": ("FP4", "High class imbalance"),
    "prevalence": ("FP4.2", "Provided class prevalences reflect the population of interest"),
    "uncertainty": ("FP4", "Uncertainties in the reference"),
    "empty reference": ("FP4", "Possibility of reference without target structure"),
    "scores": ("FP5", "Availability of predicted class scores"),
    "empty prediction": ("FP5", "Possibility of prediction without target structure"),
}
"""Property -> its number, or that of its group, and its title."""

GROUPS = """\
FP3, FP4 and FP5 alone are the groups of properties of target structures, data set and algorithm output: numbers within
them were not compared with the publication's supplement."""


def checklists(analysis: Analysis) -> Iterator[str]:
    """Both checklists as Markdown tables."""
    yield "## CLAIM 2024"
    yield from _table({item: (str(item), title) for item, title in CLAIM.items()}, claim(analysis))
    yield "## Metrics Reloaded"
    yield from _table(METRICS_RELOADED, metrics_reloaded(analysis))
    yield f"{GROUPS}\n"


def _table(items: Mapping[Any, tuple[str, str]], answers: Mapping[Any, str]) -> Iterator[str]:
    yield "| item | what | reported |"
    yield "|---|---|---|"
    for item, (number, title) in items.items():
        answer = " ".join(answers.get(item, UNKNOWN).split()).replace("|", "/")
        yield f"| {number} | {title} | {answer} |"
    yield ""


def claim(analysis: Analysis) -> dict[int, str]:
    """Item -> what this report knows; items that it cannot know are absent."""
    return {**_design(analysis), **_data(analysis), **_evaluation(analysis)}


def _design(analysis: Analysis) -> dict[int, str]:
    variant, names = analysis.headline, analysis.names
    compared = f"Whether {names[variant]} differs from {names[analysis.baseline]} in {analysis.primary.title}"
    return {
        1: "Deep learning: segmentation by nnU-Net v2, with the trainer named under Model",
        3: "Research on segmentation; no clinical role",
        4: compared if variant != analysis.baseline else f"The {analysis.primary.title} of {names[variant]}",
        6: "Comparison of trainers by cross-validation",
        22: f"Trainer {variant.trainer}, plans {variant.plans}, configuration {variant.configuration}; see Model",
        23: _check(analysis, "Software and hardware"),
        25: "Settings: the block text_guidance of plans.json; length and costs: see Model",
        26: "The last epoch's weights, as nnU-Net validates them; none is chosen by validation scores",
        27: "None: each case is predicted by the fold that did not train on it",
    }


def _data(analysis: Analysis) -> dict[int, str]:
    results, study = analysis.results, analysis.study
    description = analysis.collected.dataset_json
    left_out = "; ".join(analysis.collected.missing) or "none"
    answers = {
        9: f"nnU-Net's resampling and normalisation, as {analysis.headline.plans} say",
        12: f"Cases without prediction: {left_out}",
        19: f"splits_final.json of the data set, folds {', '.join(map(str, study.folds))}",
        20: _disjoint(analysis),
        35: f"{len(results.cases)} cases of {len(set(results.patients))} patients, "
        f"{int((results.lesions > 0).sum())} with a lesion; left out: {left_out}",
    }
    if "reference" in description:
        answers[7] = f"{study.dataset}: {description['reference']}"
    if "licence" in description:
        answers[43] = f"Software: nnunetv2-textguided, Apache-2.0; data: {description['licence']}; weights: {UNKNOWN}"
    if analysis.strata:
        answers[36] = "Subgroups: see Results; by partition: not reported"
    return answers


def _evaluation(analysis: Analysis) -> dict[int, str]:
    options = analysis.options
    metrics = (METRICS[name].title for name in analysis.estimates.table[analysis.headline])
    answers = {
        28: ", ".join(metrics),
        29: f"{options.level:.0%} intervals by bootstrap over patients; differences: Student's t over patients and "
        "trainings, Holm's correction",
        32: f"{len(analysis.study.folds)}-fold cross-validation: see Results",
        37: "See Results",
        38: "Lesions and cases: see Results (AUROC, AP, sensitivities)",
        39: f"report.html shows the {options.pictures} worst cases" if options.pictures else UNKNOWN,
        40: "See What to keep in mind",
        41: "None: for research only, not a medical device",
        42: "report.html (Methods), report.json (every option)",
    }
    if analysis.strata:
        answers[30] = f"Subgroups by {', '.join(sorted({stratum.by for stratum in analysis.strata}))}: see Results"
    return answers


def _check(analysis: Analysis, title: str) -> str:
    return next((check.text for check in analysis.checks if check.title == title), UNKNOWN)


def _disjoint(analysis: Analysis) -> str:
    """Whether a patient has cases in more than one fold, as far as patients are known."""
    if analysis.options.cases is None and analysis.collected.cases_table is None:
        return "Cases; which of them are of one patient is not known (no cases.csv)"
    folds: dict[str, set[int]] = {}
    for case, patient in zip(analysis.results.cases, analysis.results.patients, strict=True):
        folds.setdefault(patient, set()).add(analysis.collected.cases[case])
    mixed = sum(len(found) > 1 for found in folds.values())
    return f"Cases: {mixed} patients have cases in several folds" if mixed else "Patients: none has cases in two folds"


def metrics_reloaded(analysis: Analysis) -> dict[str, str]:
    """Property -> what this report knows."""
    results, scoring = analysis.results, analysis.options.scoring
    positive = int((results.lesions > 0).sum())
    answers = {
        "category": "Semantic segmentation; from its scores, detection of lesions and classification of cases",
        "boundaries": "Reported beside overlap: NSD at 1 and 2 mm, HD95",
        "volume": "Volumes of each case in per_case.csv, their agreement in a figure",
        "centre": "No: candidates are matched by overlap (IoU of at least 0.10)",
        "penalisation": "Alike in Dice; precision and recall are reported apart",
        "imbalance": "Metrics that count true negative voxels are not reported",
        "prevalence": f"{positive} of {len(results.cases)} cases have a lesion; in the population: {UNKNOWN}",
        "empty reference": f"{len(results.cases) - positive} cases; {scoring.empty.value}: {scoring.empty.description}",
        "scores": _check(analysis, "Confidences for detection"),
        "empty prediction": f"Yes; HD95: {scoring.missed.description}",
    }
    if any("volume" in stratum.by for stratum in analysis.strata):
        answers |= {
            "size": "Subgroups by lesion volume: see Results",
            "variability": "Subgroups by lesion volume: see Results",
        }
    return answers
