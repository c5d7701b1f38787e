"""What is the same for all models of a benchmark, what differs, and what each of them costs, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from nnunetv2_textguided.benchmark.facts import ModelFacts
from nnunetv2_textguided.benchmark.study import Study, Variant

Facts = Mapping[Variant, ModelFacts]

ASPECTS: dict[str, Callable[[ModelFacts], Any]] = {
    "patch size": lambda f: " x ".join(map(str, f.patch_size)),
    "batch size": lambda f: f.batch_size,
    "epochs": lambda f: f.epochs,
    "iterations per epoch": lambda f: f.iterations_per_epoch,
}
HEADER = ("trainer", "plans", "epochs x iterations", "batch", "parameters", "FLOPs per step", "training FLOPs", "cost")


def describe_fairness(study: Study, facts: Facts, cases: Mapping[int, tuple[str, ...]]) -> str:
    """A text for the terminal: the comparison's terms, before anything is trained."""
    folds = ", ".join(f"{fold}: {len(cases[fold])}" for fold in study.folds)
    splits = next(iter(facts.values())).splits_sha256[:12]
    lines = [
        f"{study.dataset}, configuration {study.configuration}: {len(study.variants)} models x "
        f"{len(study.folds)} folds = {len(list(study.cells()))} trainings",
        f"folds: the same for all (splits_final.json, sha256 {splits}); validation cases per fold {folds}",
        *_same_or_not(study, facts),
        "",
        *table(_rows(study, facts)),
        "",
        "FLOPs: of a step (three forward passes per patch; convolutions and matrix products only), and of all steps.",
        f"cost: training FLOPs relative to {study.variants[0].trainer}, the first model.",
    ]
    lines += [f"{variant.name}: FLOPs not counted: {f.not_counted}" for variant, f in facts.items() if f.not_counted]
    return "\n".join(lines)


def _same_or_not(study: Study, facts: Facts) -> Iterator[str]:
    same, differing = [], []
    if len(study.plans) == 1:
        same.append(f"plans ({study.plans[0]})")
    else:
        differing.append(f"plans: {', '.join(study.plans)}")
    for name, value in ASPECTS.items():
        values = {variant: value(f) for variant, f in facts.items()}
        if len(set(values.values())) == 1:
            same.append(f"{name} ({next(iter(values.values()))})")
        else:
            differing.append(f"{name}: " + ", ".join(f"{_short(v, study)} {x}" for v, x in values.items()))
    iterations = {f.epochs * f.iterations_per_epoch for f in facts.values()}
    if len(iterations) == 1:
        same.append(f"iterations in total ({iterations.pop()})")
    compute = [f.training_flops for f in facts.values()]
    if all(compute) and max(compute) <= 1.05 * min(compute):  # type: ignore[type-var, operator]
        same.append("compute (within 5 %)")
    elif all(compute):
        ratio = max(compute) / min(compute)  # type: ignore[type-var, operator]
        differing.append(f"compute: up to {ratio:.2f} times, see the table")
    yield f"the same for all: {', '.join(same)}"
    yield from (f"DIFFERS: {line}" for line in differing)


def _rows(study: Study, facts: Facts) -> Iterator[tuple[str, ...]]:
    yield HEADER
    reference = facts[study.variants[0]].training_flops
    for variant in study.variants:
        f = facts[variant]
        yield (
            variant.trainer,
            variant.plans,
            f"{f.epochs} x {f.iterations_per_epoch}",
            str(f.batch_size),
            amount(f.parameters),
            amount(f.flops_per_step),
            amount(f.training_flops),
            "?" if not reference or f.training_flops is None else f"{f.training_flops / reference:.2f}",
        )


def _short(variant: Variant, study: Study) -> str:
    return variant.trainer if len(study.plans) == 1 else f"{variant.trainer} ({variant.plans})"


def amount(value: float | None) -> str:
    """A number with a decimal prefix."""
    if value is None:
        return "?"
    for prefix in ("", " k", " M", " G", " T", " P", " E"):
        if value < 1000:
            return f"{value:.3g}{prefix}"
        value /= 1000
    return f"{value:.3g} Z"


def table(rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """Rows as lines of aligned columns."""
    cells = list(rows)
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
