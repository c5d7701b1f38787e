"""Distributions built from a copy of this repository, and environments that they are installed into."""

from __future__ import annotations

import shutil
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.packaging.environment import Environment, install, make_environment, run_here

NAME = "nnunetv2_textguided"
# Users' folders have spaces and letters beyond ASCII; everything here happens inside such a folder.
AWKWARD = "räumliche Daten"
CACHES = shutil.ignore_patterns(".git", ".venv", "__pycache__", "*.pyc", ".*_cache", "build", "dist", "demo_output")
WAYS = ("wheel", "sdist", "editable", "uv-wheel", "uv-editable")


@pytest.fixture(scope="session")
def host_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The running interpreter's packages, as links, without this project should it be installed there."""
    folder = tmp_path_factory.mktemp("host")
    for site in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(site).iterdir():
            if entry.suffix != ".pth" and not entry.name.lstrip("_").startswith(NAME):
                (folder / entry.name).symlink_to(entry)
    return folder


@pytest.fixture(scope="session")
def clone(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository, with rubbish in it that no distribution may carry."""
    target = tmp_path_factory.mktemp("clone") / AWKWARD / "nnunetv2-textguided"
    shutil.copytree(repository, target, ignore=CACHES)
    for folder in (NAME, "trainers", "tests"):
        (target / folder / "__pycache__").mkdir(parents=True)
        (target / folder / "__pycache__" / "rubbish.cpython-311.pyc").write_bytes(b"")
    return target


@pytest.fixture(scope="session")
def distributions(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """`sdist`, `wheel` built from the tree and `wheel-of-sdist` built from the sdist."""
    direct, chained = tmp_path_factory.mktemp("direct"), tmp_path_factory.mktemp("chained")
    run_here(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", direct, clone)
    run_here(sys.executable, "-m", "build", "--no-isolation", "--outdir", chained, clone)
    (wheel,), (sdist,), (other,) = direct.glob("*.whl"), chained.glob("*.tar.gz"), chained.glob("*.whl")
    return {"wheel": wheel, "sdist": sdist, "wheel-of-sdist": other}


@pytest.fixture(scope="session")
def nnunet_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nnU-Net's three folders."""
    home = tmp_path_factory.mktemp("home")
    for name in ("raw", "preprocessed", "results"):
        (home / name).mkdir()
    return home


@pytest.fixture(scope="session", params=WAYS)
def installed(
    request: pytest.FixtureRequest,
    clone: Path,
    distributions: dict[str, Path],
    host_packages: Path,
    nnunet_home: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Environment:
    """An environment with this project installed in one of the ways that users install it."""
    folder = tmp_path_factory.mktemp("environment") / AWKWARD / request.param
    environment = make_environment(folder, host_packages, nnunet_home)
    what: dict[str, list[str | Path]] = {
        "wheel": [distributions["wheel"]],
        "sdist": [distributions["sdist"]],
        "editable": ["--editable", clone],
        "uv-wheel": [distributions["wheel-of-sdist"]],
        "uv-editable": ["--editable", clone],
    }
    install(environment, what[request.param], uv=request.param.startswith("uv"))
    return environment
