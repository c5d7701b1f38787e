"""Pages name what exists: links lead somewhere, every trainer and equation has its place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from nnunetv2_textguided import __version__
from tests.conftest import REPOSITORY

FILES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_page_opens_with_a_short_answer(file: Path) -> None:
    title, *lead = file.read_text(encoding="utf-8").split("\n## ")[0].splitlines()
    assert title.startswith("# ")
    sentences = [line for line in lead if line and not line.startswith(("|", "!", "<", "`", "#"))]
    assert sentences, "what the page answers, before its first heading"
    assert len(lead) <= 45, "one screen"


def test_sections_that_links_name_are_there() -> None:
    """Of links to a page with a section; mkdocs makes its name of the heading in lower case with hyphens."""
    for file in FILES:
        for page, section in re.findall(r"\]\((?!https?://)([^)#\s]*)#([\w-]+)\)", file.read_text(encoding="utf-8")):
            text = ((file.parent / page) if page else file).read_text(encoding="utf-8")
            headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
            assert section in {re.sub(r"[^\w-]", "", h.lower().replace(" ", "-")) for h in headings}, (
                f"{file.name}: {section}"
            )


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_links_lead_to_files(file: Path) -> None:
    missing = [
        target for target in LINK.findall(file.read_text(encoding="utf-8")) if not (file.parent / target).exists()
    ]
    assert not missing


def test_every_page_is_linked_from_the_readme(repository: Path) -> None:
    readme = (repository / "README.md").read_text(encoding="utf-8")
    pages = [page.relative_to(repository).as_posix() for page in FILES[1:]]
    assert [page for page in pages if f"({page})" not in readme] == []


def test_trainers_page_names_exactly_the_trainers_there_are(repository: Path) -> None:
    from nnunetv2_textguided import training

    page = (repository / "docs" / "trainers.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(nnUNetTrainer\w+)` \|", page, flags=re.MULTILINE)
    assert sorted(rows) == sorted(training.__all__)


def test_trainers_page_states_what_each_fixes(repository: Path) -> None:
    from nnunetv2_textguided import training

    page = (repository / "docs" / "trainers.md").read_text(encoding="utf-8")
    for name, fixed in re.findall(r"^\| `(\w+)` \| .* \| `([\w.]+: .+?)` \|$", page, flags=re.MULTILINE):
        for statement in fixed.split("; "):
            key, value = statement.split(": ", 1)
            settings = getattr(training, name).fixed
            for part in key.split("."):
                settings = settings[part]
            assert settings == yaml.safe_load(value), name


def test_method_page_names_every_file_of_network_and_losses(repository: Path) -> None:
    page = (repository / "docs" / "method.md").read_text(encoding="utf-8")
    package = repository / "nnunetv2_textguided"
    plumbing = {"network/__init__.py", "losses/__init__.py", "network/from_plans.py", "losses/guidance.py"}
    for folder in ("network", "losses"):
        for file in (package / folder).glob("*.py"):
            name = f"{folder}/{file.name}"
            assert name in plumbing or f"../nnunetv2_textguided/{name}" in page, name


def test_citation_file(repository: Path) -> None:
    citation = yaml.safe_load((repository / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == __version__
    assert {"message", "title", "authors"} <= citation.keys()
    assert "2604.18713" in citation["preferred-citation"]["url"]
    assert any(reference.get("doi") == "10.1038/s41592-020-01008-z" for reference in citation["references"])
