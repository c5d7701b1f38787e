"""Whether the comparison is fair: what the variants have in common is checked, and what is not is said."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from nnunetv2_textguided.benchmark.report.collect import Collected
from nnunetv2_textguided.benchmark.report.costs import Costs, last_attempts
from nnunetv2_textguided.benchmark.report.options import ReportOptions
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.evaluation.results import Results
from nnunetv2_textguided.files import read_json
from nnunetv2_textguided.nnunet.variant import Variant

TOLERANCE = 0.10  # computes that differ by less count as equal


class Status(Enum):
    """How a check came out."""

    FINE = "fine"
    ATTENTION = "attention"
    NOTE = "note"


@dataclass(frozen=True)
class Check:
    """One point of fairness."""

    title: str
    status: Status
    text: str


def check_fairness(
    collected: Collected,
    results: Results,
    costs: Mapping[Variant, Costs],
    names: Mapping[Variant, str],
    options: ReportOptions,
) -> list[Check]:
    """Everything that a reader has to know to judge whether the variants were treated alike."""
    return [
        _cases(collected, results),
        _splits(collected, costs),
        *_equal(collected, costs, names, options),
        Check("Same post-processing", Status.FINE, f"For every variant: {options.scoring.postprocessing}."),
        Check("Empty masks", Status.NOTE, f"{options.scoring.empty.value}: {options.scoring.empty.description}."),
        Check("HD95", Status.NOTE, f"{options.scoring.missed.value}: {options.scoring.missed.description}."),
        _confidences(results, names),
        _patients(collected, results, options),
        *_without_reference(collected),
        _software(costs),
        _repeats(collected, names),
    ]


def _repeats(collected: Collected, names: Mapping[Variant, str]) -> Check:
    repeats = {names[variant]: len(models) for variant, models in collected.models.items()}
    if set(repeats.values()) == {1}:
        text = "How much of a difference is chance in training shows only in how it varies between folds, so intervals "
        text += "are wide. Repeats (`benchmark run --repeats`) narrow them."
        return Check("One training per fold", Status.NOTE, text)
    listed = ", ".join(f"{name} {number}" for name, number in repeats.items())
    text = f"Every number is the mean over a variant's repeats ({listed}). "
    if 1 in repeats.values():
        text += "Where one of two models has no repeats, their difference is judged by how it varies between folds."
    else:
        text += "Chance in training is measured between repeats and is part of every interval of a difference."
    return Check("Repeats", Status.NOTE, text)


def _cases(collected: Collected, results: Results) -> Check:
    folds = ", ".join(map(str, collected.study.folds))
    same = f"All {len(results.variants)} variants are scored on the same {len(results.cases)} cases (folds {folds})"
    if not collected.missing:
        return Check("Same cases", Status.FINE, f"{same}; every fold is complete.")
    total = sum(len(collected.splits[fold]["val"]) for fold in collected.study.folds)
    text = f"INCOMPLETE: {same}, of {total} in these folds. {'; '.join(collected.missing)}."
    return Check("Same cases", Status.ATTENTION, text)


def _splits(collected: Collected, costs: Mapping[Variant, Costs]) -> Check:
    hashes = [record.get("splits_sha256") for cost in costs.values() for record in cost.records]
    expected = collected.trainings
    if len(set(hashes)) > 1:
        return Check("Same folds", Status.ATTENTION, "The trainings' records name different splits_final.json files.")
    if len(hashes) == expected:
        return Check("Same folds", Status.FINE, "All trainings recorded the same splits_final.json (SHA-256).")
    text = f"{len(hashes)} of {expected} trainings recorded their splits_final.json; validated cases agree for all."
    return Check("Same folds", Status.NOTE, text)


def _equal(
    collected: Collected, costs: Mapping[Variant, Costs], names: Mapping[Variant, str], options: ReportOptions
) -> Iterator[Check]:
    plans = _plans_check(collected, costs, names)
    compute = _compute_check(costs, names)
    for check, chosen in ((plans, options.equal == "plans"), (compute, options.equal == "compute")):
        meant = " (what these variants are meant to share)" if chosen else ""
        status = check.status if chosen or check.status is Status.FINE else Status.NOTE
        yield Check(check.title + meant, status, check.text)


def _plans_check(collected: Collected, costs: Mapping[Variant, Costs], names: Mapping[Variant, str]) -> Check:
    shares: dict[str, dict[str, list[str]]] = {}
    for variant in collected.variants:
        for key, value in _shared(collected.model_folder(variant), variant, costs[variant]).items():
            shares.setdefault(key, {}).setdefault(str(value), []).append(names[variant])
    differ = {key: values for key, values in shares.items() if len(values) > 1}
    if not differ:
        common = ", ".join(f"{key} {next(iter(values))}" for key, values in shares.items())
        return Check("Same plans", Status.FINE, f"For all variants: {common}.")
    texts = (
        f"{key}: " + ", ".join(f"{value} ({_some(who)})" for value, who in values.items())
        for key, values in differ.items()
    )
    return Check("Same plans", Status.ATTENTION, f"The variants differ. {'; '.join(texts)}.")


def _shared(folder: Path, variant: Variant, cost: Costs) -> dict[str, Any]:
    path = folder / "plans.json"
    shared: dict[str, Any] = {}
    if path.is_file():
        configuration = _configuration(read_json(path, error=DataError), variant.configuration)
        for key in ("patch_size", "batch_size", "spacing"):
            shared[key.replace("_", " ")] = _rounded(configuration.get(key))
    # Their product: 1 epoch of 250 iterations is as long as 5 of 50.
    known = cost.epochs is not None and cost.iterations is not None
    return shared | {"training iterations": (cost.epochs or 0) * (cost.iterations or 0) if known else None}


def _configuration(plans: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A configuration with what it inherits."""
    configuration = dict(plans.get("configurations", {}).get(name, {}))
    parent = configuration.pop("inherits_from", None)
    return {**_configuration(plans, parent), **configuration} if parent else configuration


def _rounded(value: Any) -> Any:
    return [round(v, 3) if isinstance(v, float) else v for v in value] if isinstance(value, list) else value


def _compute_check(costs: Mapping[Variant, Costs], names: Mapping[Variant, str]) -> Check:
    title = "Same compute"
    measures: list[tuple[str, Callable[[Costs], float]]] = [
        ("training FLOPs", lambda cost: cost.values["training_flops"]),
        ("wall time", lambda cost: cost.values["wall_seconds"]),
    ]
    for what, value in measures:
        amounts = {variant: value(cost) for variant, cost in costs.items()}
        if any(not math.isfinite(amount) or amount <= 0 for amount in amounts.values()):
            continue
        least = min(amounts.values())
        ratios = {variant: amount / least for variant, amount in amounts.items()}
        equal = max(ratios.values()) <= 1 + TOLERANCE
        text = ", ".join(f"{names[variant]} {ratio:.2f}" for variant, ratio in ratios.items())
        text = f"{what[0].upper()}{what[1:]}, relative to the cheapest variant: {text}."
        return Check(title, Status.FINE if equal else Status.ATTENTION, text)
    return Check(title, Status.NOTE, "Unknown: `benchmark run` did not record the costs of all of these trainings.")


def _confidences(results: Results, names: Mapping[Variant, str]) -> Check:
    title = "Confidences for detection"
    if not results.without_probabilities:
        return Check(title, Status.FINE, "All variants saved probabilities (--npz); lesions are extracted from these.")
    listed = ", ".join(f"{names[v]} {n} of {len(results.cases)}" for v, n in results.without_probabilities.items())
    text = f"Cases of which only the mask was saved: {listed}. There every lesion has confidence 1, so AUROC and AP "
    text += "say little. Validate with --npz."
    if not results.detection_comparable:
        text += " Detection is NOT compared, because the variants are not alike in this."
    return Check(title, Status.ATTENTION, text)


def _patients(collected: Collected, results: Results, options: ReportOptions) -> Check:
    patients = len(set(results.patients))
    if options.cases is None and collected.cases_table is None:
        text = f"No cases.csv: each of the {patients} cases is taken for a patient of its own."
        return Check("Patients", Status.NOTE, text)
    return Check(
        "Patients", Status.FINE, f"{len(results.cases)} cases of {patients} patients, who are resampled whole."
    )


def _without_reference(collected: Collected) -> list[Check]:
    if not collected.unknown:
        return []
    text = f"{len(collected.unknown)} validated cases are left out, whose label maps hold the ignore label alone: "
    return [Check("Cases without reference", Status.NOTE, f"{text}{_some(list(collected.unknown))}.")]


def _software(costs: Mapping[Variant, Costs]) -> Check:
    attempts = [attempt for cost in costs.values() for attempt in last_attempts(cost)]
    if not attempts:
        text = "Not recorded: these trainings were not started by `benchmark run`."
        return Check("Software and hardware", Status.NOTE, text)
    kinds = {
        "software": {str(sorted((a.get("software") or {}).items())) for a in attempts},
        "git revision": {str(a.get("git_revision")) for a in attempts},
        "processor or GPU": {str((a.get("hardware") or {}).get("gpu") or (a.get("hardware") or {}).get("cpu"))
                             for a in attempts},
    }  # fmt: skip
    mixed = [kind for kind, found in kinds.items() if len(found) > 1]
    if mixed:
        return Check("Software and hardware", Status.ATTENTION, f"Not the same in all trainings: {', '.join(mixed)}.")
    return Check("Software and hardware", Status.FINE, "The same versions, revision and kind of hardware throughout.")


def _some(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
