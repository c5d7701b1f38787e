"""The matrix of versions: `nox` runs it whole, `nox -s "matrix-3.12(...)"` one cell of it.

Each cell installs into an environment of its own, at the lowest and at the latest versions that pyproject.toml allows,
asks `doctor` whether nnU-Net finds the trainers, and runs the tests that need no command of nnU-Net's.
"""

from __future__ import annotations

from pathlib import Path

import nox

nox.options.default_venv_backend = "uv"
nox.options.sessions = ["matrix"]

TESTS = ["tests/settings", "tests/losses", "tests/network", "tests/text", "tests/training", "tests/reliability"]


@nox.session(python=["3.10", "3.11", "3.12", "3.13"])
@nox.parametrize("resolution", ["lowest-direct", "highest"])
@nox.parametrize("nnunet", ["2.8.0", "2.8.1"])
def matrix(session: nox.Session, nnunet: str, resolution: str) -> None:
    """Doctor and the fast tests with these versions."""
    session.install(f"--resolution={resolution}", ".[text,dev]", f"nnunetv2=={nnunet}")
    # doctor asks for nnU-Net's folders, too, which a machine that only tests need not have.
    folders = {f"nnUNet_{name}": Path(session.create_tmp()) / name for name in ("raw", "preprocessed", "results")}
    for folder in folders.values():
        folder.mkdir(exist_ok=True)
    session.run("nnUNetv2_textguided", "doctor", env={name: str(folder) for name, folder in folders.items()})
    session.run("pytest", "-m", "not slow and not nightly", *(session.posargs or TESTS))
