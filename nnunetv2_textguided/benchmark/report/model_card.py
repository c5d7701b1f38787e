"""A model card of the headline variant: what it is, what it was trained and validated on, how well it does, limits."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from nnunetv2_textguided import __version__
from nnunetv2_textguided.benchmark.report.analysis import Analysis
from nnunetv2_textguided.benchmark.report.checklists import checklists
from nnunetv2_textguided.benchmark.report.costs import COLUMNS, cost_text, last_attempts
from nnunetv2_textguided.benchmark.report.names import Role, role
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.evaluation.metrics import METRICS
from nnunetv2_textguided.evaluation.strata import FOUND
from nnunetv2_textguided.files import read_json


def model_card(analysis: Analysis) -> str:
    """Markdown."""
    return "\n".join(_lines(analysis)) + "\n"


def _lines(analysis: Analysis) -> Iterator[str]:
    study = analysis.study
    yield f"# Model card: {analysis.headline.name}"
    yield ""
    yield f"{len(study.folds)}-fold cross-validation on {study.dataset}, reported by nnunetv2-textguided {__version__}."
    yield ""
    yield "## Model"
    yield from _model(analysis)
    yield ""
    yield "## Data"
    yield from _data(analysis)
    yield ""
    yield "## Intended use"
    yield ("Research on segmentation. This is not a medical device: it has not been evaluated for diagnosis, on other "
           "scanners or populations than those of the data set, or together with readers.")  # fmt: skip
    yield ""
    yield f"## Results ({analysis.options.level:.0%} intervals over patients)"
    yield from _results(analysis)
    yield ""
    yield from _subgroups(analysis)
    yield "## Does the text help?"
    yield from _verdict(analysis)
    yield "## What to keep in mind"
    yield from (f"- **{check.title}** ({check.status.value}): {check.text}" for check in analysis.checks)
    yield ""
    yield from checklists(analysis)


def _model(analysis: Analysis) -> Iterator[str]:
    variant = analysis.headline
    yield f"- nnU-Net v2 trainer `{variant.trainer}`, plans `{variant.plans}`, configuration `{variant.configuration}`"
    yield from _text_lines(analysis)
    costs = analysis.costs[variant]
    length = f"{costs.epochs or 'unknown'} epochs of {costs.iterations or 'unknown'} iterations"
    yield f"- Training: {length} per fold, one training per fold"
    known = [(c.title, cost_text(c, costs.values[c.key])) for c in COLUMNS if math.isfinite(costs.values[c.key])]
    yield from (f"- {title}: {value}" for title, value in known)
    yield from _software(analysis)


def _data(analysis: Analysis) -> Iterator[str]:
    description, results = analysis.collected.dataset_json, analysis.results
    channels = description.get("channel_contents") or description.get("channel_names") or {}
    yield f"- Channels: {', '.join(map(str, channels.values()))}; labels: {', '.join(description.get('labels', {}))}"
    positive = int((results.lesions > 0).sum())
    yield (f"- Validated on {len(results.cases)} cases of {len(set(results.patients))} patients, {positive} with "
           f"{' or '.join(results.classes)}, {int(results.lesions.sum())} lesions; no patient information beyond "
           "cases.csv is used")  # fmt: skip
    if further := analysis.collected.learned_only:
        origins = ", ".join(f"{number} {origin}" for origin, number in sorted(further.items()))
        yield f"- Learned from and never validated: {further.total()} cases ({origins})"
    yield from (f"- {key}: {description[key]}" for key in ("licence", "reference", "description") if key in description)


def _results(analysis: Analysis) -> Iterator[str]:
    yield "| metric | value | interval | cases |"
    yield "|---|---|---|---|"
    for name, estimate in analysis.estimates.table[analysis.headline].items():
        metric, ends = METRICS[name], estimate.interval
        yield (f"| {metric.title} | {metric.text(estimate.value)} | [{metric.text(ends.low)}, "
               f"{metric.text(ends.high)}] | {estimate.cases} |")  # fmt: skip


def _verdict(analysis: Analysis) -> Iterator[str]:
    variant, names = analysis.headline, analysis.names
    yield " ".join((analysis.verdict.sentence, *analysis.verdict.notes))
    yield ""
    if variant != analysis.baseline:
        difference = next(c for c in analysis.comparisons[analysis.primary.name] if c.variant == variant)
        text = analysis.primary.text
        yield (f"Against {names[analysis.baseline]}: {analysis.primary.title} "
               f"{text(difference.found.value, sign=True)} [{text(difference.found.ends.low, sign=True)}, "
               f"{text(difference.found.ends.high, sign=True)}], p = {difference.p_holm:.3g} (Holm).")  # fmt: skip
        yield ""


def _text_lines(analysis: Analysis) -> Iterator[str]:
    if role(analysis.headline.trainer) is Role.OTHER:
        return
    path = analysis.collected.model_folder(analysis.headline) / "plans.json"
    if not path.is_file():
        return
    plans = read_json(path, error=DataError)
    block: dict[str, Any] = plans["configurations"][analysis.headline.configuration].get("text_guidance") or {}
    text = (block.get("text") or {}).get("resolved")
    if block:
        yield f"- Preset {block.get('preset')}, components: {', '.join(block.get('components') or ['none'])}"
    if text:
        encoder = json.dumps(text["encoder"].get("id", "unnamed"))
        yield f"- Text: {len(text['prompts'])} prompts embedded by {encoder}, from {text['source']}"


def _software(analysis: Analysis) -> Iterator[str]:
    for attempt in last_attempts(analysis.costs[analysis.headline])[:1]:
        versions = ", ".join(f"{name} {version}" for name, version in (attempt.get("software") or {}).items())
        hardware = attempt.get("hardware") or {}
        yield f"- Software: {versions or 'not recorded'}; revision {attempt.get('git_revision') or 'not recorded'}"
        yield f"- Hardware: {hardware.get('gpu') or hardware.get('cpu') or 'not recorded'}"


def _subgroups(analysis: Analysis) -> Iterator[str]:
    if not analysis.strata:
        return
    metric = analysis.primary
    yield f"| subgroup | cases | with lesion | {metric.title} | interval | lesions found |"
    yield "|---|---|---|---|---|---|"
    for stratum in analysis.strata:
        estimates = stratum.table[analysis.headline]
        value, found = estimates[metric.name], estimates[FOUND].value
        share = f"{found:.0%}" if math.isfinite(found) else metric.text(found)
        ends = f"[{metric.text(value.interval.low)}, {metric.text(value.interval.high)}]"
        yield (f"| {stratum.by}: {stratum.name} | {int(stratum.cases.sum())} | {stratum.positives} | "
               f"{metric.text(value.value)} | {ends} | {share} |")  # fmt: skip
    yield ""
