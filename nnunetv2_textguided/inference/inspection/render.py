"""A model report as text for people, and as JSON values for programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from statistics import mean
from typing import Any

from nnunetv2_textguided.inference.inspection.report import FoldReport, ModelReport
from nnunetv2_textguided.settings import Settings
from nnunetv2_textguided.text.resolve import bank_of
from nnunetv2_textguided.text.similarity import prompt_table


def render(report: ModelReport) -> str:
    """Lines for people."""
    lines = [
        report.where,
        f"  trainer        {report.trainer or 'unknown'}",
        f"  data set       {report.dataset or 'unknown'}",
        f"  plans          {report.plans_name or 'unknown'}, configuration {report.configuration or 'unknown'}",
        f"  software       {_software(report)}",
        *(_settings(report.settings) if report.settings else ["  text           none: not a text-guided model"]),
        *_folds(report),
        *(f"  warning: {remark}" for remark in report.remarks),
    ]
    return "\n".join(lines)


def to_json(report: ModelReport) -> dict[str, Any]:
    """JSON values for programs."""
    values = asdict(report)
    values["settings"] = report.settings.block() if report.settings else None
    for fold in values["folds"]:
        del fold["plans"]
    return values


def _software(report: ModelReport) -> str:
    return ", ".join(f"{k} {v}" for k, v in report.software.items()) or "not recorded by this training"


def _settings(settings: Settings) -> Iterator[str]:
    yield f"  preset         {settings.preset}"
    yield f"  components     {', '.join(settings.components) or 'none'}; encoders {settings.encoders.arrangement}"
    resolved = settings.text.resolved
    if not settings.uses_text or resolved is None:
        yield "  text           none"
        return
    encoder = resolved.encoder
    yield f"  text           control: {settings.text.control}; {resolved.source}"
    yield f"  encoder        {encoder.get('id')} (revision {encoder.get('revision')}, {encoder.get('licence')})"
    for name, digest in _items(encoder.get("sha256")):
        yield f"                 sha256 {str(digest)[:16]}... {name}"
    for _, phrase in _items(encoder.get("not_language_embeddings")):
        yield f"                 {phrase!r} has a hashed code, not a language embedding"
    tokens = f", {resolved.num_tokens} tokens" if resolved.num_tokens else ""
    yield f"  prompts        {len(resolved.prompts)}{tokens}, sha256 {resolved.prompts_sha256[:16]}..."
    yield from (f"    {line}" for line in prompt_table(bank_of(resolved)).splitlines())


def _items(value: Any) -> list[tuple[Any, Any]]:
    """Items of a dictionary or list; none of anything else that a file may say."""
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list) else []


def _folds(report: ModelReport) -> Iterator[str]:
    planned = report.settings.training.epochs if report.settings else None
    for fold in report.folds:
        yield f"  {fold.name:<14} {_fold(fold, planned)}"
    dice = [fold.validation_dice for fold in report.folds if fold.validation_dice is not None]
    if len(dice) > 1:
        yield f"  mean of {len(dice)} folds: validation Dice {mean(dice):.4f}"


def _fold(fold: FoldReport, planned: int | None) -> str:
    parts = []
    if not fold.checkpoint:
        parts.append("no checkpoint")
    elif fold.problem is not None:
        parts.append(f"{fold.checkpoint}: NOT READ. {fold.problem}")
    else:
        of = f" of {planned}" if planned is not None else ""
        parts.append(f"{fold.checkpoint}: {'finished' if fold.finished else 'unfinished'}, {fold.epoch}{of} epochs")
    if fold.phase is not None:
        parts.append(f"phase {fold.phase}" + (f" (alpha {fold.alpha:.3g})" if fold.alpha is not None else ""))
    if fold.best_ema_dice is not None:
        parts.append(f"best moving pseudo Dice {fold.best_ema_dice:.4f}")
    if fold.validation_dice is not None:
        parts.append(f"validation Dice {fold.validation_dice:.4f}")
    return "; ".join(parts)
