"""The demo's report: one HTML file that needs no network, no server and no other file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from pathlib import Path
from string import Template

import numpy as np

from nnunetv2_textguided import __version__
from nnunetv2_textguided.demo.charts import CHARTS, DARK, LIGHT, draw_chart
from nnunetv2_textguided.demo.film import LEVELS, change_colours, heat_colours
from nnunetv2_textguided.demo.phantom import LESION
from nnunetv2_textguided.demo.record import DemoRecord
from nnunetv2_textguided.demo.report_case import case_card, case_styles, verdict
from nnunetv2_textguided.demo.scores import DemoScore, mean_dice
from nnunetv2_textguided.files import write_text

TEMPLATE = Path(__file__).with_name("template.html")


def write_report(path: Path, record: DemoRecord) -> None:
    """Write the report of a run to `path`, atomically."""
    page = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title="Text-guided lesion segmentation: demo",
        headline="A text-guided nnU-Net learns to find prostate lesions",
        lead=_lead(record),
        figures="".join(_figures(record)),
        case_styles=case_styles(record.cases),
        cases="\n".join(case_card(case) for case in record.cases),
        heat_scale=_gradient(heat_colours()),
        change_scale=_gradient(change_colours()),
        learning=_learning(record),
        charts="".join(_charts(record)),
        table=_table(record),
        text_source=_text_source(record),
        prompts="".join(_prompts(record)),
        steps="".join(_steps(record)),
        settings=escape(json.dumps(_shown_settings(record), indent=2, ensure_ascii=False)),
        footer=_footer(record),
    )
    write_text(path, page)


def _lead(record: DemoRecord) -> str:
    return (
        f"{len(record.cases)} cases of a procedural biparametric MRI phantom that the network has never seen, after "
        f"{record.log.epochs} short epochs of <code>nnUNetTrainerAlignRefine</code>. Every image here is synthetic: "
        "it shows that the method runs and what it does, not how well it does on patients."
    )


def _figures(record: DemoRecord) -> Iterator[str]:
    positives = [case for case in record.cases if case.trained.has_lesion]
    negatives = [case for case in record.cases if not case.trained.has_lesion]
    found = sum(verdict(case.trained)[1] for case in positives)
    clear = sum(verdict(case.trained)[1] for case in negatives)
    seconds = sum(step.seconds for step in record.steps)
    yield _figure(f"{mean_dice([case.trained for case in record.cases]):.2f}", "mean lesion Dice, trained", "main")
    yield _figure(f"{mean_dice([case.untrained for case in record.cases]):.2f}", "mean lesion Dice, untrained")
    yield _figure(f"{found} of {len(positives)}", "cases with a lesion, found")
    yield _figure(f"{clear} of {len(negatives)}", "cases without a lesion, left clear")
    yield _figure(f"{int(seconds // 60)}:{int(seconds % 60):02d}", "minutes, everything")


def _figure(number: str, meaning: str, kind: str = "") -> str:
    return f'<div class="{kind}"><b>{number}</b><span>{meaning}</span></div>'


def _learning(record: DemoRecord) -> str:
    names = {
        "warm-up": "segmentation alone",
        "ramp": "the text losses fade in",
        "align": "voxels and prompts are pulled together",
        "refine": "the refiner joins",
    }
    spans = [
        f"<b>{escape(phase)}</b> ({_epochs(first + 1, last + 1)}: {names.get(phase, 'no text')})"
        for phase, first, last in record.log.spans()
    ]
    return "Phases, shaded in the charts: " + ", ".join(spans) + "."


def _epochs(first: int, last: int) -> str:
    return f"epoch {first}" if first == last else f"epochs {first}-{last}"


def _charts(record: DemoRecord) -> Iterator[str]:
    for chart in CHARTS:
        light, dark = (draw_chart(chart, record.log, theme) for theme in (LIGHT, DARK))
        yield (
            f"<figure><h3>{chart.title}</h3><picture>"
            f'<source media="(prefers-color-scheme: dark)" srcset="{dark}">'
            f'<img src="{light}" alt="{escape(chart.title)} over epochs"></picture>'
            f"<figcaption>{chart.reading}</figcaption></figure>"
        )


def _table(record: DemoRecord) -> str:
    head = (
        '<tr><th>case</th><th class="n">lesion, voxels</th><th class="n">untrained</th><th class="wide"></th>'
        '<th class="n">trained</th><th></th></tr>'
    )
    rows = [
        f'<tr><td>{escape(case.identifier)}</td><td class="n">{case.trained.reference_voxels or "none"}</td>'
        f"{_cells(case.untrained, 'before', 'wide')}{_cells(case.trained, 'after', '')}</tr>"
        for case in record.cases
    ]
    before, after = (mean_dice([getattr(c, which) for c in record.cases]) for which in ("untrained", "trained"))
    mean = (
        f'<tr class="mean"><td>mean Dice</td><td></td><td class="n">{before:.3f}</td><td class="wide"></td>'
        f'<td class="n">{after:.3f}</td><td></td></tr>'
    )
    return head + "".join(rows) + mean


def _cells(score: DemoScore, kind: str, where: str) -> str:
    if score.dice is None:
        return f'<td class="n">{score.predicted_voxels} voxels</td><td class="{where}"></td>'
    meter = f'<span class="meter"><i class="{kind}" style="width:{100 * score.dice:.1f}%"></i></span>'
    return f'<td class="n">{score.dice:.3f}</td><td class="{where}">{meter}</td>'


def _text_source(record: DemoRecord) -> str:
    text = record.block["text"]["resolved"]
    encoder = text["encoder"]
    return (
        f"Embeddings of {len(text['prompts'])} prompts ({text['embedding_dim']} numbers each) by "
        f"<code>{escape(str(encoder.get('id', 'an unnamed encoder')))}</code>, read from: {escape(text['source'])}. "
        "They are stored in the model; prediction needs no text encoder."
    )


def _prompts(record: DemoRecord) -> Iterator[str]:
    text = record.block["text"]["resolved"]
    groups = [(f"Prompts of the label {label}", index, "label") for index, label in enumerate(text["labels"])]
    for title, index, kind in [*groups, ("Context: everything that is not the label", -1, "")]:
        chosen = [p for p, i in zip(text["prompts"], text["prompt_label"], strict=True) if i == index]
        items = "".join(f"<li>{escape(prompt)}</li>" for prompt in chosen)
        yield f'<h3>{escape(title)}</h3><ul class="prompts {kind}">{items}</ul>'


def _steps(record: DemoRecord) -> Iterator[str]:
    for step in record.steps:
        command = f"<code>{escape(step.command)}</code>" if step.command else ""
        yield f"<li><b>{escape(step.title)}</b><span>{step.seconds:.0f} s</span>{command}</li>"


def _shown_settings(record: DemoRecord) -> dict:
    # The resolved text has a section of its own.
    return {**record.block, "text": {k: v for k, v in record.block["text"].items() if k != "resolved"}}


def _footer(record: DemoRecord) -> str:
    return (
        f"Made by <code>nnUNetv2_textguided demo --seed {record.seed}</code>, version {__version__}. Label: {LESION}. "
        "Method: Sun et al., <i>Align then Refine: Text-Guided 3D Prostate Lesion Segmentation</i>, EMBC 2026 "
        "(arXiv 2604.18713). Framework: Isensee et al., nnU-Net, Nature Methods 2021."
    )


def _gradient(colours: list[tuple[int, int, int, int]]) -> str:
    picked = np.linspace(0, LEVELS - 1, 9).round().astype(int)
    return ",".join("rgba({},{},{},{:.2f})".format(*colours[i][:3], colours[i][3] / 255) for i in picked)
