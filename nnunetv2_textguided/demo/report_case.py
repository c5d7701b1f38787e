"""One test case of the report: six views of the same slice, a slider, and what there was to find."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

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

REFERENCE, PREDICTED, GATE = (56, 189, 248), (251, 191, 36), (192, 132, 252)  # as in template.html
FOUND_DICE = 0.1

# Each view: title, what it shows, layers from back to front.
VIEWS = (
    ("T2W", "lesions are dark", ("t2w", "reference", "predicted")),
    ("ADC", "lesions are dark: diffusion is restricted", ("adc", "reference", "predicted")),
    ("HBV", "lesions are bright (b = 1400)", ("hbv", "reference", "predicted")),
    ("Text heatmap", "where the image resembles the lesion prompts", ("t2w", "heat", "reference")),
    ("Refiner's gate", "voxels that the refiner may change", ("t2w", "gate", "reference")),
    ("Refiner's change", "red towards lesion, blue away from it", ("t2w", "change", "reference")),
)
PIXELATED = ("gate", "change")


def case_styles(cases: Sequence[CaseRecord]) -> str:
    """Style rules that hold every image once, however many views use it."""
    limit = max((float(np.abs(case.effect.change).max(initial=0)) for case in cases), default=0.0)
    return "\n".join(
        f".{_class(case, layer)}{{background-image:url({uri})}}"
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


def case_card(case: CaseRecord) -> str:
    """The HTML of one case."""
    word, good = verdict(case.trained)
    slices, rows, columns = case.reference.shape
    dice = "" if case.trained.dice is None else f'<span class="dice">Dice <b>{case.trained.dice:.2f}</b></span>'
    style = f"--slices:{slices};--slice:{case.key_slice};--aspect:{columns}/{rows}"
    marks = "".join(
        f'<i class="{"r " if reference.any() else ""}{"p" if predicted.any() else ""}"></i>'
        for reference, predicted in zip(case.reference, case.predicted, strict=True)
    )
    return (
        f'<article class="case" id="{escape(case.identifier)}" style="{style}">'
        f'<div class="top"><h3>{escape(case.identifier)}</h3>'
        f'<span class="pill {"good" if good else "bad"}">{word}</span>'
        f'<span class="note">{escape(_lesions(case))}</span>{dice}</div>'
        f'<div class="panels">{"".join(_view(case, *view) for view in VIEWS)}</div>'
        f'<div class="slider"><input type="range" min="1" max="{slices}" value="{case.key_slice + 1}" '
        f'aria-label="Slice of {escape(case.identifier)}"><output></output><div class="track">{marks}</div></div>'
        f'<p class="facts">{_facts(case)}</p></article>'
    )


def _view(case: CaseRecord, title: str, meaning: str, layers: Sequence[str]) -> str:
    stack = "".join(
        f'<div class="layer {layer}{" voxels" if layer in PIXELATED else ""} {_class(case, layer)}"></div>'
        for layer in layers
    )
    return (
        f'<figure><div class="view" role="img" aria-label="{escape(title)} of {escape(case.identifier)}">{stack}</div>'
        f"<figcaption><b>{escape(title)}</b> {escape(meaning)}</figcaption></figure>"
    )


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
    parts.append(
        f"The gate lets {int(effect.gate.sum())} voxels through; the refiner adds {added} and removes {removed}."
    )
    return " ".join(parts)


def _class(case: CaseRecord, layer: str) -> str:
    return f"{case.identifier}-{layer}"
