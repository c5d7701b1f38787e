"""The page in a browser: it needs no other file, its script runs, and it is not blank."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.benchmark.conftest import Report
from tests.benchmark.study_builder import METHOD, NO_TEXT, RANDOM, STOCK, FakeStudy

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def browse(page: Path, *arguments: str) -> str:
    """Open the page in a browser without a window; what the browser prints."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={page.parent / 'profile'}"]
    done = subprocess.run(
        [str(BROWSER), *options, *arguments, page.as_uri()], capture_output=True, timeout=400, check=True
    )
    return done.stdout.decode("utf-8", "replace")


def test_page(shared_study: FakeStudy, report: Report, tmp_path: Path) -> None:
    page = (
        report(shared_study, "--trainers", STOCK, NO_TEXT, METHOD, RANDOM, "--pictures", "2", "--pdf") / "report.html"
    )
    text = page.read_text(encoding="utf-8")
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", text), "everything is in the page"
    assert "None" not in re.sub(r"data:image[^\"]*", "", text)
    ids = re.findall(r' id="([^"]*)"', text)
    assert len(ids) == len(set(ids)), "ids of inline figures do not collide"
    for section in ("results", "differences", "detection", "subgroups", "cases", "cost", "fairness", "methods"):
        assert f'<h2 id="{section}">' in text
    assert text.count("<svg viewBox") >= 8
    assert text.count('<article class="case">') == text.count("data:image/jpeg") / 3 >= 4
    assert (page.parent / "figures" / "forest.pdf").read_bytes().startswith(b"%PDF")
    if BROWSER is None:
        pytest.skip("needs Chromium or Chrome to look at the page")
    body = re.search(r'<body class="([^"]*)"', browse(page, "--dump-dom"))
    assert body is not None
    assert set(body[1].split()) == {"hide-v2", "hide-v4"}, "headline and baseline are outlined, the others on demand"
    browse(page, "--window-size=1200,3000", "--hide-scrollbars", f"--screenshot={tmp_path / 'page.png'}")
    from PIL import Image

    pixels = np.asarray(Image.open(tmp_path / "page.png").convert("L"), float)
    assert pixels.shape == (3000, 1200)
    assert all(block.std() > 3 for block in np.array_split(pixels, 6)), "no part of the page is empty"


def test_a_single_variant_has_a_page_too(shared_study: FakeStudy, report: Report) -> None:
    folder = report(shared_study, "--trainers", STOCK, "--pictures", "1")
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "Whether the text helps cannot be said" in text
    assert "table.tex" in text
    assert r"\begin{tabular}" in (folder / "table.tex").read_text(encoding="utf-8")
    assert "# Model card" in (folder / "model_card.md").read_text(encoding="utf-8")
