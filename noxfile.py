"""What continuous integration runs: the jobs of .github/workflows call these sessions, and `nox -l` lists them.

Sessions whose work the Makefile does call it, in an environment of their own: commands stand there once. The others
need an environment that is not the developer's: other versions of nnU-Net, torch and numpy.
"""

from __future__ import annotations

import re
from pathlib import Path

import nox

nox.options.sessions = ["lint", "build"]
nox.options.default_venv_backend = "virtualenv"

NNUNET_MAIN = "git+https://github.com/MIC-DKFZ/nnUNet"
QUICK = ["-m", "not slow and not nightly"]
ANYWHERE = ["tests/settings", "tests/losses", "tests/network", "tests/text"]
HOOKS = ["tests/training", "tests/planning", "tests/nnunet"]
AREAS = [*ANYWHERE, "tests/training", "tests/reliability"]

UNPROVED = """
from importlib.metadata import metadata, requires, version
from packaging.requirements import Requirement
from packaging.version import Version
NAME = "nnunetv2-textguided"
extras = ["", *metadata(NAME).get_all("Provides-Extra")]
unproved = []
for requirement in map(Requirement, requires(NAME)):
    marker = requirement.marker
    if requirement.name == NAME or marker and not any(marker.evaluate({"extra": extra}) for extra in extras):
        continue
    bounds = [Version(bound.version) for bound in requirement.specifier if bound.operator == ">="]
    if bounds != [Version(version(requirement.name))]:
        unproved.append(f"{requirement}: {version(requirement.name)} is installed")
raise SystemExit("not proved: " + "; ".join(unproved) if unproved else 0)
"""
"""A script that fails where a lower bound of pyproject.toml is not the version that is installed."""


def make(session: nox.Session, target: str) -> None:
    """Run a target of the Makefile in this session's environment."""
    session.run("make", target, f"VENV={session.virtualenv.location}", *session.posargs, external=True)


@nox.session(python="3.11")
def lint(session: nox.Session) -> None:
    """Style, types, import contracts, spelling."""
    make(session, "lint")


@nox.session(python=["3.10", "3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """All tests except the nightly ones, with the newest versions that pyproject.toml allows."""
    make(session, "test")


@nox.session(python="3.11")
def coverage(session: nox.Session) -> None:
    """Lines and branches that the quick tests reach, against the floor."""
    make(session, "coverage")


@nox.session(python="3.11")
def nightly(session: nox.Session) -> None:
    """The tests that take long."""
    make(session, "nightly")


@nox.session(python="3.11")
def build(session: nox.Session) -> None:
    """Wheel and sdist, checked by twine."""
    make(session, "build")


@nox.session(python="3.11")
def site(session: nox.Session) -> None:
    """The documentation as web pages; a warning is an error."""
    make(session, "site")


@nox.session(python="3.10", venv_backend="uv")
def lowest(session: nox.Session) -> None:
    """The lowest versions that pyproject.toml allows, on the lowest Python: later ones have no builds of them."""
    session.install("--resolution=lowest-direct", ".[all]")
    session.run("python", "-c", UNPROVED)
    versions(session)


@nox.session(python="3.13", venv_backend="uv")
@nox.parametrize("nnunet", ["2.8.0", "2.8.1"])
def newest(session: nox.Session, nnunet: str) -> None:
    """The newest versions that pyproject.toml allows, with each nnU-Net that it allows."""
    session.install("--resolution=highest", ".[all]", f"nnunetv2=={nnunet}")
    versions(session)


@nox.session(python="3.12", venv_backend="uv")
def smoke(session: nox.Session) -> None:
    """What needs neither nnU-Net's commands nor a POSIX system: run on macOS and Windows."""
    session.install(".[text,dev]")
    session.run("pytest", *QUICK, *(session.posargs or ANYWHERE))


@nox.session(python="3.11", venv_backend="uv")
def upstream(session: nox.Session) -> None:
    """nnU-Net's main: what its next release will break."""
    session.install(".[text,dev]")
    session.install("--no-deps", NNUNET_MAIN)
    session.run("pytest", "-m", "not nightly", *(session.posargs or HOOKS))


@nox.session(python=False)
def tag(session: nox.Session) -> None:
    """`nox -s tag -- v1.2.3`: the tag is the version's, and the changelog describes it."""
    (name,) = session.posargs
    source = Path("nnunetv2_textguided/__init__.py").read_text(encoding="utf-8")
    (version,) = re.findall(r'^__version__ = "(.+)"$', source, flags=re.MULTILINE)
    if name != f"v{version}":
        session.error(f"The tag {name} is not the version's, which is v{version}.")
    if f"## [{version}]" not in Path("CHANGELOG.md").read_text(encoding="utf-8"):
        session.error(f"CHANGELOG.md has no section for {version}.")


def versions(session: nox.Session) -> None:
    """Doctor, and the quick tests, with whatever versions are installed."""
    # doctor asks for nnU-Net's folders, too, which a machine that only tests need not have.
    folders = {f"nnUNet_{name}": Path(session.create_tmp()) / name for name in ("raw", "preprocessed", "results")}
    for folder in folders.values():
        folder.mkdir(exist_ok=True)
    session.run("nnUNetv2_textguided", "doctor", env={name: str(folder) for name, folder in folders.items()})
    session.run("pytest", *QUICK, *(session.posargs or AREAS))
