"""Write the tables of docs/performance.md from the JSON of a run: python -m tests.performance.table RUN.json"""

from __future__ import annotations

import json
import re
import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from nnunetv2_textguided.files import write_text
from tests.performance.pairs import MET, MISSED

PAGE = Path(__file__).resolve().parents[2] / "docs" / "performance.md"


def spread(values: Sequence[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def goal_row(run: dict[str, Any], about: dict[str, Any]) -> str:
    """One row of the table of goals."""
    limit, unit = about.get("limit"), " s" if about["kind"] == "seconds" else ""
    if about["kind"] == "time":
        low, high = about["interval"]
        mean = f"{spread(about['processor'])} [{low:.3g}, {high:.3g}]"
        measured, value = [mean, spread(about["wall"])], statistics.median(about["processor"])
    elif about["kind"] == "count":
        measured, value = [f"{about['value']:.3g}, counted", ""], about["value"]
    else:
        value = about.get("value", run["stats"]["median"])
        measured = ["", f"{value:.3g} s"]
    verdict = "" if limit is None else _verdict(about, value <= limit)
    return " | ".join(
        ["", str(about["goal"] or ""), about["name"], f"{limit:g}{unit}" if limit else "", *measured, verdict, ""]
    ).strip()


def _verdict(about: dict[str, Any], within: bool) -> str:
    """Of timed pairs what their interval says; of what is counted or a command's seconds what the value says."""
    verdict = about["verdict"] if about["kind"] == "time" else MET if within else MISSED
    return f"**{verdict}**" if verdict == MISSED else str(verdict)


def scaling_row(about: dict[str, Any]) -> str:
    """One row of the table of scaling."""
    values = [f"{about[key]:.3g}" for key in ("flops", "bytes", "parameters")]
    return " | ".join(["", about["scaling"], spread(about["processor"]), *values, ""]).strip()


def tables(report: dict[str, Any]) -> dict[str, str]:
    """Text for each pair of markers."""
    runs = [(run, run["extra_info"]) for run in report["benchmarks"]]
    goals = sorted(((r, i) for r, i in runs if "name" in i), key=lambda pair: pair[1]["goal"] or 99)
    info = report["machine_info"]
    machine = (
        f"{info['cpu']['count']} cores of a server CPU ({info['cpu']['arch']}), {info['threads']} thread(s), "
        f"torch {info['torch']}, float32; medians (and ranges) of pairs "
        f"[and the interval of their mean ratio]; {report['datetime'][:10]}."
    )
    return {
        "goals": "\n".join(
            [
                machine,
                "",
                "| goal | A : B, or what | at most | processor time, A / B | wall time, A / B | |",
                "|---|---|---|---|---|---|",
                *(goal_row(run, about) for run, about in goals),
            ]
        ),
        "scaling": "\n".join(
            [
                "| 16 x 64 x 64, 3 channels, 1 class, 18 prompts = 1 | time | operations | bytes kept | parameters |",
                "|---|---|---|---|---|",
                *(scaling_row(about) for _, about in runs if "scaling" in about),
            ]
        ),
    }


def insert(page: str, texts: dict[str, str]) -> str:
    """`page` with each text between the markers of its name.

    Raises:
        ValueError: a marker is missing.
    """
    for name, text in texts.items():
        pattern = re.compile(rf"(<!-- {name}: begin -->\n).*?(<!-- {name}: end -->)", re.DOTALL)
        if not pattern.search(page):
            raise ValueError(f"{PAGE}: the markers of '{name}' are missing")
        page = pattern.sub(lambda found, text=text: f"{found[1]}{text}\n{found[2]}", page)
    return page


def main(files: Iterable[str]) -> None:
    """Write the tables of one run, or of several that each ran a part."""
    reports = [json.loads(Path(file).read_text(encoding="utf-8")) for file in files]
    report = {**reports[0], "benchmarks": [run for part in reports for run in part["benchmarks"]]}
    write_text(PAGE, insert(PAGE.read_text(encoding="utf-8"), tables(report)))


if __name__ == "__main__":
    main(sys.argv[1:])
