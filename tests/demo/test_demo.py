"""The demo as a user runs it, with the least that every step can do."""

from __future__ import annotations

import csv
import html
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from nnunetv2_textguided.files import read_json

# A minute on an idle machine. The limits are there for hangs only.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    root = Path(__file__).parents[2]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("nnUNet_")}
    environment |= {"PYTHONPATH": str(root), "nnUNet_extTrainer": str(root / "trainers")}
    # nnU-Net's commands are looked for beside the interpreter.
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    command = [sys.executable, "-m", "nnunetv2_textguided.cli", "demo", "--quick", "--output", str(folder / "out")]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=2300)
    assert run.returncode == 0, run.stdout + run.stderr
    (folder / "stdout").write_text(run.stdout)
    return folder / "out"


def test_both_dices_of_every_case_are_printed_and_kept(output: Path) -> None:
    printed = (output.parent / "stdout").read_text()
    results = read_json(output / "results.json")
    assert "trained" in printed
    assert "untrained" in printed
    assert len(results["cases"]) == 4
    for case in results["cases"]:
        assert case["identifier"] in printed
        assert (case["dice"] is None) == (case["dice_untrained"] is None) == (case["reference_voxels"] == 0)
    assert any(case["dice"] is not None for case in results["cases"])


class _References(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [v or "" for k, v in attrs if k in ("src", "srcset", "data") or (tag == "link" and k == "href")]


def test_the_report_needs_no_other_file_and_no_network(output: Path) -> None:
    page = (output / "report.html").read_text(encoding="utf-8")
    references = _References()
    references.feed(page)
    assert "url(data:image/" in page, "pictures are in the page"
    assert [r[:60] for r in references.found if not r.startswith("data:")] == []
    assert re.findall(r"url\(\s*['\"]?(?!data:|#)", page) == []
    filled = re.sub(r"<(pre|code)>.*?</\1>|url\(.*?\)", "", page, flags=re.DOTALL)
    assert not re.search(r"\{\{|\{%|None", filled), "every place of the template was filled"


def test_the_report_shows_phases_prompts_and_commands(output: Path) -> None:
    page = html.unescape((output / "report.html").read_text(encoding="utf-8"))
    with next(output.rglob("text_guidance_log.csv")).open() as log:
        phases = list(dict.fromkeys(row["phase"] for row in csv.DictReader(log)))
    assert phases == ["warm-up", "align", "refine"], "however short a training is"
    for phase in phases:
        assert f"<b>{phase}</b>" in page
    for command in ("nnUNetv2_plan_and_preprocess", "nnUNetv2_train", "nnUNetv2_predict"):
        assert command in page
    for title in ("Loss", "Text-image similarity", "Dice on validation patches", "Refiner: mean change of logits"):
        assert f"<h3>{title}</h3>" in page
    for case in read_json(output / "results.json")["cases"]:
        for view in ("T2W", "ADC", "HBV", "Text heatmap", "Refiner's gate", "Refiner's change"):
            assert f'aria-label="{view} of {case["identifier"]}"' in page
        for layer in ("t2w", "adc", "hbv", "reference", "predicted", "heat", "gate", "change"):
            assert f".{case['identifier']}-{layer}{{background-image:url(data:image/" in page
