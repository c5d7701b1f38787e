"""The demo's report: one HTML file that needs no network, no server and no other file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nnunetv2_textguided import __version__
from nnunetv2_textguided.demo.charts import CHARTS, draw_chart
from nnunetv2_textguided.demo.film import LEVELS, change_colours, heat_colours
from nnunetv2_textguided.demo.phantom import LESION
from nnunetv2_textguided.demo.record import DemoRecord
from nnunetv2_textguided.demo.report_case import PIXELATED, VIEWS, case_card, case_styles, change_limit, verdict
from nnunetv2_textguided.demo.scores import mean_dice
from nnunetv2_textguided.files import write_text
from nnunetv2_textguided.pages.render import render

TEMPLATE = Path(__file__).with_name("report.html.j2")
_MEANING = {
    "warm-up": "segmentation alone",
    "ramp": "the text losses fade in",
    "align": "voxels and prompts are pulled together",
    "refine": "the refiner joins",
}


def write_report(path: Path, record: DemoRecord) -> None:
    """Write the report of a run to `path`, atomically."""
    from markupsafe import Markup

    limit = change_limit(record.cases)
    page = render(
        TEMPLATE,
        record=record,
        key_figures=list(_key_figures(record)),
        case_styles=Markup(case_styles(record.cases, limit)),
        cards=[case_card(case) for case in record.cases],
        views=VIEWS,
        pixelated=PIXELATED,
        heat_scale=_gradient(heat_colours()),
        change_scale=_gradient(change_colours()),
        change_limit=f"{limit:g}",
        phases=[
            (phase, _epochs(first + 1, last + 1), _MEANING.get(phase, "no text"))
            for phase, first, last in record.log.spans()
        ],
        charts=[(chart.title, chart.reading, Markup(draw_chart(chart, record.log))) for chart in CHARTS],
        dice={which: mean_dice([getattr(c, which) for c in record.cases]) for which in ("untrained", "trained")},
        text=record.block["text"]["resolved"],
        prompts=list(_prompts(record.block["text"]["resolved"])),
        settings=json.dumps(_shown_settings(record), indent=2, ensure_ascii=False),
        label=LESION,
        version=__version__,
    )
    write_text(path, page)


def _key_figures(record: DemoRecord) -> Iterator[tuple[str, str]]:
    positives = [case for case in record.cases if case.trained.has_lesion]
    negatives = [case for case in record.cases if not case.trained.has_lesion]
    found = sum(verdict(case.trained)[1] for case in positives)
    clear = sum(verdict(case.trained)[1] for case in negatives)
    seconds = sum(step.seconds for step in record.steps)
    yield f"{mean_dice([case.trained for case in record.cases]):.2f}", "mean lesion Dice, trained"
    yield f"{mean_dice([case.untrained for case in record.cases]):.2f}", "mean lesion Dice, untrained"
    yield f"{found} of {len(positives)}", "cases with a lesion, found"
    yield f"{clear} of {len(negatives)}", "cases without a lesion, left clear"
    yield f"{int(seconds // 60)}:{int(seconds % 60):02d}", "minutes, everything"


def _epochs(first: int, last: int) -> str:
    return f"epoch {first}" if first == last else f"epochs {first}-{last}"


def _prompts(text: dict[str, Any]) -> Iterator[tuple[str, str, list[str]]]:
    groups = [(f"Prompts of the label {label}", index, "label") for index, label in enumerate(text["labels"])]
    for title, index, kind in [*groups, ("Context: everything that is not the label", -1, "")]:
        yield title, kind, [p for p, i in zip(text["prompts"], text["prompt_label"], strict=True) if i == index]


def _shown_settings(record: DemoRecord) -> dict[str, Any]:
    # The resolved text has a section of its own.
    return {**record.block, "text": {k: v for k, v in record.block["text"].items() if k != "resolved"}}


def _gradient(colours: list[tuple[int, int, int, int]]) -> str:
    picked = np.linspace(0, LEVELS - 1, 9).round().astype(int)
    return ",".join("rgba({},{},{},{:.2f})".format(*colours[i][:3], colours[i][3] / 255) for i in picked)
