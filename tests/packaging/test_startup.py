"""The start-up module: what it does to the environment, and what it costs every interpreter of the environment."""

from __future__ import annotations

import os
import pkgutil
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from nnunetv2_textguided import startup

SOURCE = Path(startup.__file__)


@pytest.fixture
def placed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Execute the start-up module as if it stood in another place; returns its namespace."""
    monkeypatch.delenv(startup.VARIABLE, raising=False)
    monkeypatch.delenv(startup.OPT_OUT, raising=False)

    def place(*folders: str, root: str = "") -> dict:
        package = tmp_path / root / "nnunetv2_textguided"
        package.mkdir(parents=True)
        for folder in folders:
            (tmp_path / root / folder).mkdir(parents=True)
        (package / "startup.py").write_bytes(SOURCE.read_bytes())
        return runpy.run_path(str(package / "startup.py"))

    return place


def test_imports_only_os_and_sys(placed) -> None:
    modules = {value.__name__ for value in placed().values() if isinstance(value, ModuleType)}
    assert modules == {"os", "sys"}


def test_wheel_layout_registers_the_folder_in_the_package(placed, tmp_path: Path) -> None:
    placed("nnunetv2_textguided/trainers")["register"]()
    assert os.environ[startup.VARIABLE] == str(tmp_path / "nnunetv2_textguided" / "trainers")


def test_editable_layout_registers_the_folder_of_the_repository(placed, tmp_path: Path) -> None:
    module = placed("trainers")
    (tmp_path / "pyproject.toml").touch()
    module["register"]()
    assert os.environ[startup.VARIABLE] == str(tmp_path / "trainers")


def test_another_packages_trainers_folder_in_site_packages_is_never_registered(placed) -> None:
    # Half-uninstalled: startup.py is left, our folder is gone, and somebody else installed a package named trainers.
    placed("trainers")["register"]()
    assert startup.VARIABLE not in os.environ


@pytest.mark.parametrize("folder", ["two words", "größe ß 前列腺", "quote'and\"quote"])
def test_unusual_paths(placed, tmp_path: Path, folder: str) -> None:
    placed("nnunetv2_textguided/trainers", root=folder)["register"]()
    assert os.environ[startup.VARIABLE].split(os.pathsep) == [str(tmp_path / folder / "nnunetv2_textguided/trainers")]


def test_a_path_that_the_variable_cannot_hold_is_left_out(placed) -> None:
    placed("nnunetv2_textguided/trainers", root=f"a{os.pathsep}b")["register"]()
    assert startup.VARIABLE not in os.environ


def test_appends_after_the_users_folders_and_only_once(placed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(startup.VARIABLE, os.pathsep.join(["/mine", "/also mine", ""]))
    register = placed("nnunetv2_textguided/trainers")["register"]
    register()
    register()
    ours = str(tmp_path / "nnunetv2_textguided" / "trainers")
    assert os.environ[startup.VARIABLE].split(os.pathsep) == ["/mine", "/also mine", ours]


@pytest.mark.parametrize(("value", "registered"), [("1", False), ("yes", False), ("0", True), ("", True)])
def test_opt_out(placed, monkeypatch: pytest.MonkeyPatch, value: str, registered: bool) -> None:
    monkeypatch.setenv(startup.OPT_OUT, value)
    placed("nnunetv2_textguided/trainers")["register"]()
    assert (startup.VARIABLE in os.environ) == registered


def test_an_environment_that_refuses_the_value_raises_nothing(placed, monkeypatch: pytest.MonkeyPatch) -> None:
    module = placed("nnunetv2_textguided/trainers")
    monkeypatch.setitem(module["register"].__globals__, "shim_folder", lambda: "embedded\0null")
    module["register"]()
    assert startup.VARIABLE not in os.environ


def test_the_start_up_line_survives_a_half_uninstalled_package(repository: Path, tmp_path: Path) -> None:
    line = (repository / "startup" / "nnunetv2_textguided.pth").read_text(encoding="utf-8")
    assert line.startswith("import ")
    assert line.count("\n") == 1
    (tmp_path / "nnunetv2_textguided").mkdir()  # what a deletion that stopped halfway leaves
    done = subprocess.run([sys.executable, "-S", "-c", line], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_both_start_up_files_call_the_same_function(repository: Path) -> None:
    # Python >= 3.15 reads .start (PEP 829: one pkg.module:callable a line, # comments) and then ignores the .pth.
    lines = (repository / "startup" / "nnunetv2_textguided.start").read_text(encoding="utf-8").splitlines()
    entries = [line for line in lines if line and not line.startswith("#")]
    assert [pkgutil.resolve_name(entry) for entry in entries] == [startup.register]


def starts(folder: Path) -> list[list[str]]:
    """Processor seconds of the start-up line in ten interpreters, each with the modules of ours that it imported."""
    code = (
        "import os, sys, time; start = time.process_time()\n"
        "from nnunetv2_textguided.startup import register; register()\n"
        "print(time.process_time() - start, *(m for m in sys.modules if m.startswith('nnunetv2')))"
    )
    shutil.copytree(SOURCE.parent, folder / "nnunetv2_textguided", ignore=shutil.ignore_patterns("__pycache__"))
    # As installed: modules are compiled once, not in every interpreter.
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return [
        subprocess.run(
            [sys.executable, "-S", "-c", code], capture_output=True, text=True, cwd=folder, env=variables, timeout=60
        ).stdout.split()
        for _ in range(10)
    ]


def test_costs_less_than_a_millisecond_and_imports_nothing_else(tmp_path: Path) -> None:
    runs = starts(tmp_path)
    assert runs[0][1:] == ["nnunetv2_textguided", "nnunetv2_textguided.startup"]
    seconds = [float(run[0]) for run in runs]
    # Processor time, and the fastest of several: other programs make a run slow, but none too fast.
    assert min(seconds) < 1e-3, seconds
