"""How the numbers of a report were made, in sentences that a paper can take over."""

from __future__ import annotations

from collections.abc import Iterator

from nnunetv2_textguided.benchmark.report.analysis import Analysis
from nnunetv2_textguided.evaluation.case_facts import CERTAIN
from nnunetv2_textguided.evaluation.difference import POOLING_LEVEL
from nnunetv2_textguided.evaluation.strata import RATE


def methods(analysis: Analysis) -> Iterator[str]:
    """Paragraphs of plain text."""
    yield from _scoring(analysis)
    yield from _statistics(analysis)
    yield from _thresholds_and_calibration(analysis)
    yield (
        "Effect sizes: d_z is the mean difference in standard deviations of the differences; r the matched-pairs "
        "rank-biserial correlation. In subgroups, lesions found are those whose candidate is at least as confident as "
        f"the threshold at which that variant has {RATE:g} false positive per case over all cases."
    )


def _scoring(analysis: Analysis) -> Iterator[str]:
    options, results = analysis.options, analysis.results
    yield (
        f"Scored: {analysis.scored}, on the {len(results.cases)} validation cases of {len(set(results.patients))} "
        f"patients in the folds {', '.join(map(str, analysis.study.folds))}. Post-processing: "
        f"{options.scoring.postprocessing}. Empty masks: {options.scoring.empty.value} "
        f"({options.scoring.empty.description}). HD95: {options.scoring.missed.description}."
    )
    yield (
        "Dice, precision and recall count voxels; HD95 and NSD weight surfaces by their area. Lesion candidates "
        f'are extracted from probabilities by report_guided_annotation ("{options.scoring.extraction}") and matched by '
        "picai_eval's rule (IoU of at least 0.10); a case's score is its highest confidence. AUROC is over cases, AP "
        "and sensitivities over lesions. Post-processing does not touch the candidates."
    )


def _statistics(analysis: Analysis) -> Iterator[str]:
    options = analysis.options
    level, alpha = f"{options.level:.0%}", f"{1 - options.level:.2g}"
    yield (
        f"Intervals: {level} percentile bootstrap over patients (all cases of a drawn patient together), "
        f"{options.resamples} replicates, seed {options.seed}, with these trainings as they are."
    )
    yield (
        "Differences: the mean over folds, by their cases, of the difference of both models' means over repeats, on "
        "the cases that count in all of their trainings; of two settings of the same trained networks, the mean of the "
        "differences within each network. AUROC, AP and sensitivities are taken within each training. "
        f"Their {level} intervals and p values are Student's t over patients and trainings: from the variation between "
        "folds and, with repeats of both models, pooled with what patients and trainings explain, unless the folds "
        f"vary by more (F test at {POOLING_LEVEL:.0%}). Holm's correction at {alpha} over the variants, separately for "
        f"each metric: {analysis.primary.title} is the primary one, the others are exploratory."
    )


def _thresholds_and_calibration(analysis: Analysis) -> Iterator[str]:
    yield (
        "Fitted thresholds: the masks of each fold's cases are cut where the other folds' cases (all repeats) have the "
        f"highest mean Dice of cases with a lesion, less {analysis.options.price:g} for each mL of false volume in the "
        "mean case without one, before any post-processing. Average precision of voxels: of all voxels of a training's "
        "validation cases. What fitting changes of a difference has an interval of its own; Holm's correction over "
        "the variants."
    )
    yield (
        "Calibration: of a case's score, the maximum of its detection map, and of its likelihood, a logistic "
        "regression on the score's logit, fitted within each repeat on the other folds. Slope and intercept are those "
        f"of a logistic regression of the reference on the logit (kept {CERTAIN:g} away from 0 and 1). Intervals are "
        "over patients and trainings, by each case's influence. Decision curves: net benefit by the likelihood, with "
        "intervals over patients. Differences in subgroups are made as the others, but without any correction: they "
        "are exploratory."
    )
