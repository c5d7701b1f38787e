"""From a study to everything that its report says: collect, score, estimate, compare, judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from nnunetv2_textguided.benchmark.report.collect import Collected, collect
from nnunetv2_textguided.benchmark.report.costs import Costs, read_costs
from nnunetv2_textguided.benchmark.report.curves import Curves, read_curves
from nnunetv2_textguided.benchmark.report.fairness import Check, check_fairness
from nnunetv2_textguided.benchmark.report.names import Role, role, short_names
from nnunetv2_textguided.benchmark.report.options import ReportOptions
from nnunetv2_textguided.benchmark.report.probabilities import Probabilities, analyse_probabilities
from nnunetv2_textguided.benchmark.report.thresholds import Thresholds, analyse_thresholds, threshold_notes
from nnunetv2_textguided.benchmark.report.verdict import Verdict, judge, verdict_pairs
from nnunetv2_textguided.benchmark.study import Study
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.evaluation.bootstrap import draw
from nnunetv2_textguided.evaluation.cases import read_case_infos
from nnunetv2_textguided.evaluation.classes import choose_targets, describe_targets
from nnunetv2_textguided.evaluation.comparison import Comparison, compare_all
from nnunetv2_textguided.evaluation.estimates import Estimates, estimate_all
from nnunetv2_textguided.evaluation.metrics import METRICS, Metric
from nnunetv2_textguided.evaluation.results import Results, build_results
from nnunetv2_textguided.evaluation.score import NoReferenceError
from nnunetv2_textguided.evaluation.scoring import score_all
from nnunetv2_textguided.evaluation.strata import Stratum, stratify
from nnunetv2_textguided.evaluation.zones import read_lesion_zones
from nnunetv2_textguided.nnunet.folders import Folders
from nnunetv2_textguided.nnunet.variant import Variant

SCORES = "scores"


@dataclass(frozen=True)
class Analysis:
    """Everything that a report says.

    Attributes:
        collected, results, estimates, strata, checks: see their modules.
        options: how it was made.
        scored: what was scored, in words.
        names: variant -> short name.
        baseline: what the others are compared with.
        comparisons: metric -> the others against the baseline, Holm-corrected within each metric.
        verdict: whether the text helped.
        thresholds: the same differences at fitted thresholds.
        probabilities: calibration of the cases' scores, and decision curves.
        costs, curves: by variant.
    """

    collected: Collected
    results: Results
    options: ReportOptions
    scored: str
    names: Mapping[Variant, str]
    baseline: Variant
    estimates: Estimates
    comparisons: Mapping[str, list[Comparison]]
    verdict: Verdict
    thresholds: Thresholds
    probabilities: Probabilities
    strata: list[Stratum]
    checks: list[Check]
    costs: Mapping[Variant, Costs]
    curves: Mapping[Variant, Curves]

    @property
    def study(self) -> Study:
        """What was compared."""
        return self.collected.study

    @property
    def primary(self) -> Metric:
        """The metric of the forest plot, the worst cases and the verdict."""
        return METRICS[self.options.primary]

    @property
    def headline(self) -> Variant:
        """The variant that the report is about: the method, else the first that is not the baseline."""
        variants = self.results.variants
        others = [variant for variant in variants if variant != self.baseline] or list(variants)
        # Not the baseline where the method is compared with itself under other plans.
        return next((v for v in (*others, *variants) if role(v.trainer) is Role.METHOD), others[0])


def analyse(study: Study, folders: Folders, options: ReportOptions, output: Path) -> Analysis:
    """Make everything that a report says.

    Args:
        study: what is compared.
        folders: nnU-Net's.
        options: how.
        output: the report's folder; scores of cases are kept there.

    Raises:
        DataError: incomplete folds, missing or damaged files, an unknown label or baseline.
    """
    collected = collect(study, folders, allow_incomplete=options.allow_incomplete)
    where = folders.preprocessed / study.dataset / "dataset.json"
    labels = collected.dataset_json.get("labels") or {}
    targets = choose_targets(labels, options.label, where)
    jobs = collected.score_jobs(targets, options.scoring)
    scores, failed = score_all(jobs, workers=options.jobs, cache_folder=output / SCORES)
    # A case that nobody outlined is left out for all models; any other, silently, would favour who fails on hard cases.
    unknown = {case for case, error in failed.items() if isinstance(error, NoReferenceError)}
    others = [error for case, error in failed.items() if case not in unknown]
    if others or not scores:
        first = next(iter(others or failed.values()))
        what = f"{len(failed)} cases cannot be scored; one: {first.what}"
        raise DataError(what, where=first.where, remedy=first.remedy)
    collected = collected.without_reference(unknown)
    zones = read_lesion_zones(collected.zone_jobs(targets), options.jobs)
    infos = {case: replace(info, zone=zones.get(case, ""))
             for case, info in read_case_infos(collected.cases, _table(collected, options)).items()}  # fmt: skip
    results = build_results(collected.models, collected.cases, infos, scores, collected.networks)
    return _analyse_results(collected, results, options, describe_targets(targets))


def _analyse_results(collected: Collected, results: Results, options: ReportOptions, scored: str) -> Analysis:
    variants = results.variants
    names, baseline = short_names(variants), _baseline(variants, options)
    weights = draw(results.patients, options.resamples, options.seed).astype(float)
    estimates = estimate_all(results, weights, options.level)

    def compare(pairs: list[tuple[Variant, Variant]], metric: str) -> list[Comparison]:
        return compare_all(pairs, metric, results, options.level)

    costs = {variant: read_costs(collected.fold_folders(variant)) for variant in variants}
    curves = {variant: read_curves(collected.fold_folders(variant)) for variant in variants}
    compared = [name for name, metric in METRICS.items() if metric.per_case or results.detection_comparable]
    pairs = [(variant, baseline) for variant in variants if variant != baseline]
    asked = verdict_pairs(variants)
    answers = dict(zip(asked, compare(list(asked.values()), options.primary), strict=True))
    thresholds = analyse_thresholds(results, baseline, asked, options)
    has_method = any(role(variant.trainer) is Role.METHOD for variant in variants)
    verdict = judge(has_method, answers, METRICS[options.primary], options.level)
    return Analysis(
        collected=collected,
        results=results,
        options=options,
        scored=scored,
        names=names,
        baseline=baseline,
        estimates=estimates,
        comparisons={name: compare(pairs, name) for name in compared},
        verdict=replace(verdict, notes=(*verdict.notes, *threshold_notes(thresholds))),
        thresholds=thresholds,
        probabilities=analyse_probabilities(results, baseline, weights, names, options.level),
        strata=stratify(results, baseline, weights, options.level, options.volume_edges),
        checks=check_fairness(collected, results, costs, names, options),
        costs=costs,
        curves={variant: found for variant, found in curves.items() if found is not None},
    )


def _table(collected: Collected, options: ReportOptions) -> Path | None:
    if options.cases is None:
        return collected.cases_table
    return None if str(options.cases) == "none" else options.cases


def _baseline(variants: tuple[Variant, ...], options: ReportOptions) -> Variant:
    if options.baseline is None:
        return variants[0]
    found = next((v for v in variants if options.baseline in (v.trainer, v.name)), None)
    if found is None:
        raise DataError(
            f"The baseline {options.baseline!r} is not among the variants.",
            where="--baseline",
            remedy=f"Choose one of {', '.join(v.name for v in variants)}.",
        )
    return found
