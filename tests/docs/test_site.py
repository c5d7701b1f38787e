"""The documentation as web pages: built with warnings as errors, complete, searchable, and asking no other server."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="needs the extra `site`")
    folder = tmp_path_factory.mktemp("site") / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        capture_output=True, text=True, cwd=REPOSITORY, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def page(site: Path, name: str) -> str:
    return (site / name / "index.html").read_text(encoding="utf-8")


def test_every_page_of_the_documentation_is_on_the_site(site: Path) -> None:
    docs = REPOSITORY / "docs"
    pages = [p.relative_to(docs).with_suffix("") for kind in ("*.md", "*.ipynb") for p in docs.rglob(kind)]
    assert len(pages) > 20
    assert [str(name) for name in pages if not (site / name / "index.html").is_file()] == []


def test_links_and_pictures_lead_to_files(site: Path) -> None:
    for file in site.rglob("index.html"):
        text = file.read_text(encoding="utf-8")
        for target in re.findall(r'(?:href|src)="(?!https?:|#|data:|mailto:)([^"#?]+)', text):
            path = site / target.lstrip("/") if target.startswith("/") else file.parent / target
            assert path.exists(), f"{file.relative_to(site)} -> {target}"


def test_reference_pages_are_made_from_the_code(site: Path) -> None:
    assert "nnUNetv2_textguided predict -i new_patients" in page(site, "commands")
    assert "text_guidance" in page(site, "settings")
    losses = page(site, "api/losses")
    assert "nnunetv2_textguided.losses.alignment.alignment_loss" in losses
    assert "&gt;&gt;&gt;" in losses, "examples are shown as code"
    assert page(site, "method").count("<math") > 20


def test_notebooks_are_shown_with_what_they_print_and_draw(site: Path) -> None:
    for path in (REPOSITORY / "docs").glob("*.ipynb"):
        shown = page(site, path.stem)
        outputs = [output for cell in json.loads(path.read_text())["cells"] for output in cell.get("outputs", ())]
        pictures = [output["data"]["image/png"].strip() for output in outputs if "image/png" in output.get("data", {})]
        assert pictures, path.name
        assert all(picture in shown for picture in pictures)
        lines = [line for output in outputs for line in "".join(output.get("text", "")).splitlines()]
        assert [line for line in lines if html.escape(line, quote=False) not in shown] == []


def test_the_demos_picture_is_on_the_home_page_and_in_its_tutorial(site: Path) -> None:
    for name in (".", "tutorials/demo"):
        assert re.search(r'<img alt="[^"]{20,}" src="(\.\./)*images/demo.png"', page(site, name)), name
    assert (site / "images" / "demo.png").stat().st_size > 10_000


def test_the_site_can_be_searched_and_asks_no_other_server(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    assert any("heatmap" in entry["text"] for entry in index["docs"])
    text = (site / "index.html").read_text(encoding="utf-8")
    assert 'class="md-search"' in text
    assert not re.findall(r'(?:src|<link[^>]*href)="https?://', text)
