"""Writing a report: the page, tables for papers, figures, LaTeX, model card, and everything as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nnunetv2_textguided.benchmark.report.analysis import Analysis
from nnunetv2_textguided.benchmark.report.figures.catalogue import FIGURES, reading
from nnunetv2_textguided.benchmark.report.latex import latex_table
from nnunetv2_textguided.benchmark.report.methods import methods
from nnunetv2_textguided.benchmark.report.model_card import model_card
from nnunetv2_textguided.benchmark.report.page import LIBRARIES, render_page
from nnunetv2_textguided.benchmark.report.tables import all_tables
from nnunetv2_textguided.files import json_value, write_json, write_text
from nnunetv2_textguided.pages.figures import draw_svg, inline, write_pdf
from nnunetv2_textguided.software import software_versions

PAGE = "report.html"
_IN_JSON = ("summary", "comparisons", "verdict", "thresholds", "calibration", "reliability", "decision_curve",
            "subgroups", "costs")  # fmt: skip


def write_report(analysis: Analysis, folder: Path, command: str) -> list[Path]:
    """Write everything into `folder`, the page last.

    Args:
        analysis: what to write.
        folder: for the files.
        command: that made it, for provenance.

    Returns:
        The paths.
    """
    written = write_tables(analysis, folder, command)
    texts = {"table.tex": latex_table(analysis), "model_card.md": model_card(analysis)}
    for name, text in texts.items():
        write_text(folder / name, text)
        written.append(folder / name)
    figures: dict[str, tuple[str, str]] = {}
    for kind in FIGURES:
        figure = kind.draw(analysis)
        if figure is None:
            continue
        svg, path = draw_svg(figure, kind.name), folder / "figures" / f"{kind.name}.svg"
        figures[kind.name] = inline(svg), reading(kind, analysis)
        write_text(path, svg)
        written.append(path)
        if analysis.options.pdf:
            written.append(path.with_suffix(".pdf"))
            write_pdf(figure, written[-1])
    names = [path.relative_to(folder).as_posix() for path in written]
    write_text(folder / PAGE, render_page(analysis, figures, names, command))
    return [*written, folder / PAGE]


def write_tables(analysis: Analysis, folder: Path, command: str) -> list[Path]:
    """Write the numbers alone, as CSV and JSON; returns the paths."""
    tables = all_tables(analysis)
    written = []
    for name, table in tables.items():
        path = folder / f"{name}.csv"
        write_text(path, table.to_csv(index=False, lineterminator="\n"))
        written.append(path)
    content = _as_json(analysis, command)
    content |= {name: tables[name].to_dict(orient="records") for name in _IN_JSON}
    content["verdict"] = {**content["answer"], "comparisons": content["verdict"]}
    del content["answer"]
    write_json(folder / "report.json", json_value(content))
    return [*written, folder / "report.json"]


def _as_json(analysis: Analysis, command: str) -> dict[str, Any]:
    study, options, verdict = analysis.study, analysis.options, analysis.verdict
    return {
        "command": command,
        "software": software_versions(LIBRARIES),
        "dataset": study.dataset,
        "configuration": study.configuration,
        "folds": list(study.folds),
        "variants": [variant.name for variant in analysis.results.variants],
        "repeats": {variant.name: list(table.repeats) for variant, table in analysis.results.tables.items()},
        "baseline": analysis.baseline.name,
        "scored": analysis.scored,
        "cases": len(analysis.results.cases),
        "patients": len(set(analysis.results.patients)),
        "complete": not analysis.collected.missing,
        "missing": list(analysis.collected.missing),
        "options": {**vars(options), "scoring": options.scoring.fingerprint, "cases": str(options.cases or "")},
        "methods": list(methods(analysis)),
        "fairness": [{"title": c.title, "status": c.status.value, "text": c.text} for c in analysis.checks],
        "answer": {
            "outcome": verdict.outcome.value,
            "sentence": verdict.sentence,
            "notes": list(verdict.notes),
            "missing": [role.value for role in verdict.missing],
        },
        "not_calibrated": list(analysis.probabilities.left_out),
        "records": {v.name: list(costs.records) for v, costs in analysis.costs.items()},
    }
