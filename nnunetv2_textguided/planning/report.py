"""What the planner decided, beside what nnU-Net decides for its own network, in words and numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from nnunetv2_textguided.planning.fit import Decision, Fit
from nnunetv2_textguided.planning.run import PlanResult

HEADER = ("", "patch", "batch", "parameters", "memory", "counted", "FLOPs per patch")


def report(result: PlanResult) -> str:
    """A text for the terminal."""
    lines = [f"Data set {result.dataset}, memory target {result.gigabytes:g} GB", ""]
    for name, decision in result.decisions.items():
        configuration = result.plans["configurations"][name]
        spacing = " x ".join(f"{value:.3g}" for value in configuration["spacing"])
        lines.append(f"{name}: spacing {spacing} mm, preprocessed data {configuration['data_identifier']}")
        lines += [f"  {line}" for line in _table(_rows(decision, result.gigabytes))]
        lines += [f"  {line}" for line in _remarks(decision)]
        lines.append("")
    lines += [
        "memory: in nnU-Net's terms, in which its own network fills the target where nnU-Net says so.",
        "counted: parameters, gradients, momentum and what is saved for the backward pass in mixed precision.",
        *result.notes,
        f"Plans written to {result.path}",
        *_next_steps(result),
    ]
    return "\n".join(lines)


def _rows(decision: Decision, gigabytes: float) -> Iterator[Sequence[str]]:
    yield HEADER
    for title, fit in (
        ("stock nnU-Net", decision.stock),
        ("text-guided, stock plans", decision.ours_on_stock),
        ("text-guided, planned", decision.ours),
    ):
        # nnU-Net rounds its own batch size to the nearest number: what it plans is right by definition.
        too_large = " (too large)" if fit.settings is not None and fit.cost.total > fit.budget else ""
        yield (
            title,
            " x ".join(str(int(n)) for n in fit.plan["patch_size"]),
            str(fit.plan["batch_size"]),
            f"{fit.cost.parameters / 1e6:.1f} M",
            f"{memory_in_gigabytes(fit, gigabytes):.1f} GB{too_large}",
            f"{fit.cost.total / 1e9:.2f} GB",
            f"{fit.cost.flops_per_patch / 1e12:.3f} T",
        )


def memory_in_gigabytes(fit: Fit, target: float) -> float:
    """A fit's memory in nnU-Net's terms: what fills the budget of bytes fills the target."""
    return fit.cost.total / fit.budget * target


def _table(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    cells = list(rows)
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _remarks(decision: Decision) -> Iterator[str]:
    ours = decision.ours
    if ours.settings is not None:
        encoders = ours.settings.encoders
        shared = "" if encoders.shared_from_stage is None else f", one trunk from stage {encoders.shared_from_stage} on"
        yield (
            f"encoders: {encoders.arrangement}, width {encoders.width:g}{shared}; "
            f"{ours.relative_flops:.2f} times the stock network's FLOPs at the same patch"
        )
    if ours.cost.total > ours.budget:
        yield "This does not fit the memory target even at nnU-Net's least batch size."


def _next_steps(result: PlanResult) -> Iterator[str]:
    name, dataset = result.path.stem, result.dataset
    missing = [
        configuration
        for configuration in result.decisions
        if not Path(result.path.parent / result.plans["configurations"][configuration]["data_identifier"]).is_dir()
    ]
    if missing:
        yield f"Not preprocessed yet: nnUNetv2_preprocess -d {dataset} -plans_name {name} -c {' '.join(missing)}"
    configuration = "3d_fullres" if "3d_fullres" in result.decisions else "2d"
    yield f"Train with: nnUNetv2_train {dataset} {configuration} 0 -p {name} -tr nnUNetTrainerAlignRefine"
