"""What continuous integration runs are nox sessions, and every session is run by it."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from tests.conftest import REPOSITORY

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))
SET_UP = ("pip install nox uv", "sudo apt-get update && sudo apt-get install -y")
CALL = re.compile(r'^nox -s "?(?P<session>[^"\s]+(?: [^"\s]+)*?)"?(?: -- .+)?$')


def jobs() -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every job of every workflow, with the name of its file before its own."""
    for file in WORKFLOWS:
        for name, job in yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"].items():
            yield f"{file.stem}/{name}", job


def cells(job: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """The combinations of a job's matrix."""
    matrix = job.get("strategy", {}).get("matrix", {})
    for values in itertools.product(*matrix.values()):
        yield dict(zip(matrix, values, strict=True))


def called() -> dict[str, str]:
    """Session -> the job that calls it; fails on a step that is neither a session nor set-up."""
    found = {}
    for name, job in jobs():
        for step, cell in itertools.product(job["steps"], cells(job)):
            if "run" not in step or step["run"].startswith(SET_UP):
                continue
            command = re.sub(r"\$\{\{ matrix\.(\w+) \}\}", lambda match, cell=cell: cell[match[1]], step["run"])
            match = CALL.match(command)
            assert match is not None, f"{name}: {command}"
            found[match["session"]] = name
    return found


@pytest.fixture(scope="module")
def sessions() -> list[dict[str, Any]]:
    """The sessions of noxfile.py, as nox lists them."""
    pytest.importorskip("nox", reason="needs the extra `dev`")
    done = subprocess.run(
        [sys.executable, "-m", "nox", "--list", "--json", "-k", "lint or not lint"],
        capture_output=True, text=True, cwd=REPOSITORY, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    listed: list[dict[str, Any]] = json.loads(done.stdout)
    return listed


def test_every_step_is_a_session_and_every_session_a_step(sessions: list[dict[str, Any]]) -> None:
    assert set(called()) == {session["session"] for session in sessions}


def test_jobs_that_name_a_python_run_the_sessions_of_that_python(sessions: list[dict[str, Any]]) -> None:
    wanted = {session["session"]: session["python"] for session in sessions}
    for name, job in jobs():
        (*_, version) = [
            step["with"]["python-version"] for step in job["steps"] if "setup-python" in step.get("uses", "")
        ] or [None]
        for cell in cells(job):
            python = re.sub(r"\$\{\{ matrix\.python \}\}", cell.get("python", ""), version or "")
            for session in (s for s, where in called().items() if where == name):
                if wanted[session] and ("python" not in cell or session.endswith(python)):
                    assert python == wanted[session], f"{name} calls {session}"


def test_sessions_cover_what_pyproject_allows(sessions: list[dict[str, Any]]) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pythons = {c.rsplit(" ", 1)[1] for c in project["classifiers"] if re.search(r"Python :: 3\.\d+$", c)}
    assert {s["python"] for s in sessions if s["name"] == "tests"} == pythons
    assert next(s["python"] for s in sessions if s["name"] == "lowest") == project["requires-python"].removeprefix(">=")
    assert next(s["python"] for s in sessions if s["name"] == "newest") == max(pythons, key=Version)
    (nnunet,) = (r for r in map(Requirement, project["dependencies"]) if r.name == "nnunetv2")
    tried = [s["call_spec"]["nnunet"] for s in sessions if s["name"] == "newest"]
    assert tried
    assert all(version in nnunet.specifier for version in tried)
    assert min(tried, key=Version) in str(nnunet.specifier), "the lowest is among them"


def test_a_tag_that_is_not_the_versions_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("nox", reason="needs the extra `dev`")
    from nnunetv2_textguided import __version__

    for name, status in ((f"v{__version__}", 0), ("v0.0.1", 1)):
        command = [sys.executable, "-m", "nox", "-s", "tag", "--envdir", str(tmp_path), "--", name]
        done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=100)
        assert (done.returncode == 0) == (status == 0), done.stderr
