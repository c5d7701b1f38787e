"""Environments that this project is installed into, and the tools that do it.

Nothing is downloaded: an environment sees the packages of the interpreter that runs the tests, except this project.
"""

from __future__ import annotations

import importlib.metadata
import os
import shlex
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Environment:
    """A virtual environment without pip in which the commands of this project run as a user's would."""

    folder: Path
    nnunet: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def site_packages(self) -> Path:
        return next((self.folder / "lib").glob("python*/site-packages"))

    def variables(self, **extra: str) -> dict[str, str]:
        """A user's environment: nnU-Net's three paths and nothing of the developer's."""
        paths = {f"nnUNet_{name}": str(self.nnunet / name) for name in ("raw", "preprocessed", "results")}
        path = os.pathsep.join([str(self.folder / "bin"), os.environ["PATH"]])
        return {"PATH": path, "HOME": str(self.nnunet), "OMP_NUM_THREADS": "1", **paths, **extra}

    def run(self, *command: str | Path, **extra: str) -> subprocess.CompletedProcess[str]:
        """Run `command` in a neutral folder; `extra` are additional environment variables."""
        return subprocess.run(
            [str(word) for word in command],
            capture_output=True,
            text=True,
            cwd=self.nnunet,
            env=self.variables(**extra),
            timeout=500,
        )

    def evaluate(self, code: str, **extra: str) -> str:
        """Standard output of `code` in a fresh interpreter; it must succeed."""
        done = self.run(self.python, "-c", code, **extra)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def files(self) -> set[str]:
        """Everything in site-packages, relative."""
        return {str(p.relative_to(self.site_packages)) for p in self.site_packages.rglob("*")}


def run_here(*command: str | Path) -> None:
    """Run one of the building or installing tools with the tests' own interpreter; it must succeed."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr


def make_environment(folder: Path, host: Path, nnunet: Path) -> Environment:
    """A virtual environment that sees `host`. A plain path line, so that start-up files in `host` are not run."""
    venv.EnvBuilder(with_pip=False, symlinks=True).create(folder)
    environment = Environment(folder, nnunet)
    (environment.site_packages / "zz_host.pth").write_text(f"{host}\n", encoding="utf-8")
    return environment


def install(environment: Environment, what: Sequence[str | Path], *, uv: bool) -> None:
    """Install without dependencies and without network."""
    if uv:
        tool = [sys.executable, "-m", "uv", "pip", "install", "--python", environment.python, "--offline", "--no-cache"]
        run_here(*tool, "--no-deps", "--no-build-isolation", *what)
        return
    done = environment.run(
        environment.python, "-m", "pip", "install", "--no-index", "--no-deps", "--no-build-isolation", *what
    )
    assert done.returncode == 0, done.stdout + done.stderr


def write_commands(environment: Environment, distribution: str, added: Mapping[str, str] | None = None) -> None:
    """The commands of a distribution of the host, as pip would install them, with the options in `added` behind."""
    for entry in importlib.metadata.distribution(distribution).entry_points:
        code = (
            f"import sys; from {entry.module} import {entry.attr} as run; sys.argv[0] = {entry.name!r}; sys.exit(run())"
        )
        target = environment.folder / "bin" / entry.name
        command = f"{shlex.quote(str(environment.python))} -c {shlex.quote(code)}"
        target.write_text(f'#!/bin/sh\nexec {command} "$@"{(added or {}).get(entry.name, "")}\n', encoding="utf-8")
        target.chmod(0o755)
