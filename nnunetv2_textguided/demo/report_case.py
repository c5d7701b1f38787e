"""One test case of the report: six views of the same slice, a slider, and what there was to find."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnunetv2_textguided.demo.film import (
    change_strip,
    contour_strip,
    display_range,
    gate_strip,
    heat_strip,
    image_strip,
)
from nnunetv2_textguided.demo.phantom import CHANNELS
from nnunetv2_textguided.demo.record import CaseRecord
from nnunetv2_textguided.demo.scores import DemoScore

REFERENCE, PREDICTED, GATE = (56, 189, 248), (251, 191, 36), (192, 132, 252)  # as in page.css
FOUND_DICE = 0.1

# Each view: title, what it shows, layers from back to front.
VIEWS = (
    ("T2W", "lesions are dark", ("t2w", "reference", "predicted")),
    ("ADC", "lesions are dark: diffusion is restricted", ("adc", "reference", "predicted")),
    ("HBV", "lesions are bright (b = 1400)", ("hbv", "reference", "predicted")),
    ("Text heatmap", "where the image resembles the lesion prompts", ("t2w", "heat", "reference")),
    ("Refiner's gate", "voxels that the refiner may change", ("t2w", "gate", "reference")),
    ("Refiner's change", "in logits: red towards lesion, blue away from it", ("t2w", "change", "reference")),
)
PIXELATED = ("gate", "change")


def change_limit(cases: Sequence[CaseRecord]) -> float:
    """End of the scale of the refiner's change, in logits: 1, or the largest change, as 1, 2 or 5 times a power of ten.

    A change far below one logit moves no mask. On a scale of its own it would look like one that does.
    """
    largest = max((float(np.abs(case.effect.change).max(initial=0)) for case in cases), default=0.0)
    steps = (factor * 10.0**power for power in range(6) for factor in (1, 2, 5))
    return next(step for step in steps if step >= min(largest, 1e5))


def case_styles(cases: Sequence[CaseRecord], limit: float) -> str:
    """Style rules that hold every image once, however many views use it; `limit` as change_limit gives it."""
    return "\n".join(
        f".{case.identifier}-{layer}{{background-image:url({uri})}}"
        for case in cases
        for layer, uri in _layers(case, limit).items()
    )


def _layers(case: CaseRecord, limit: float) -> dict[str, str]:
    images = {name.lower(): image_strip(case.images[name], display_range(name, case.images[name])) for name in CHANNELS}
    return {
        **images,
        "reference": contour_strip(case.reference, REFERENCE),
        "predicted": contour_strip(case.predicted, PREDICTED),
        "heat": heat_strip(case.effect.heatmap),
        "gate": gate_strip(case.effect.gate, GATE),
        "change": change_strip(case.effect.change, limit),
    }


def verdict(score: DemoScore) -> tuple[str, bool]:
    """A word for a case, and whether it is good news."""
    if score.dice is None:
        return ("no lesion, none marked", True) if not score.predicted_voxels else ("false alarm", False)
    return ("found", True) if score.dice >= FOUND_DICE else ("missed", False)


def case_card(case: CaseRecord) -> dict[str, Any]:
    """What the page says of one case."""
    word, good = verdict(case.trained)
    marks = [
        f"{'r ' if reference.any() else ''}{'p' if predicted.any() else ''}"
        for reference, predicted in zip(case.reference, case.predicted, strict=True)
    ]
    return {
        "case": case, "word": word, "good": good, "marks": marks, "lesions": _lesions(case), "facts": _facts(case)
    }  # fmt: skip


def _lesions(case: CaseRecord) -> str:
    if not case.lesions:
        return "drawn without a lesion"
    return "drawn with " + " and ".join(
        f"a {lesion['diameter']:.0f} mm lesion in the {lesion['zone']} (conspicuity {lesion['conspicuity']:.2f})"
        for lesion in case.lesions
    )


def _facts(case: CaseRecord) -> str:
    effect = case.effect
    parts = []
    if case.reference.any():
        inside, outside = effect.heatmap[case.reference].mean(), effect.heatmap[~case.reference].mean()
        parts.append(f"Similarity with the lesion prompts: {inside:.2f} inside the reference, {outside:.2f} outside.")
    added, removed = int((effect.after & ~effect.before).sum()), int((effect.before & ~effect.after).sum())
    low, high = (float(f(initial=0)) for f in (effect.change.min, effect.change.max))
    parts.append(
        f"The gate lets {int(effect.gate.sum())} voxels through; there the refiner changes logits by {low:+.2g} to "
        f"{high:+.2g}, which adds {added} voxels to the mask and removes {removed}."
    )
    return " ".join(parts)
