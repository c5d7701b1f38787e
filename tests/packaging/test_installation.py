"""Installed in each way that users install it: stock nnU-Net finds the trainers, and uninstalling leaves nothing."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from nnunetv2_textguided.startup import OPT_OUT
from tests.packaging.environment import Environment, install, make_environment, run_here

# One interpreter looks all of them up: nnU-Net imports its own trainers first, which takes seconds.
LOOKUP = """
import ast, os, pathlib, pickle
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
(folder,) = os.environ["nnUNet_extTrainer"].split(os.pathsep)
for shim in sorted(pathlib.Path(folder).glob("*.py")):
    for statement in ast.parse(shim.read_text(encoding="utf-8")).body:
        for name in [alias.name for alias in getattr(statement, "names", [])]:
            found = recursive_find_trainer_class_by_name(name)
            assert found.__module__.startswith("nnunetv2_textguided.training"), found.__module__
            assert pickle.loads(pickle.dumps(found)) is found
            assert recursive_find_trainer_class_by_name(name) is found
            print("found", name)
"""
VARIABLE = "import os; print(os.environ.get('nnUNet_extTrainer', ''))"


@pytest.mark.slow
def test_stock_lookup_finds_every_trainer(installed: Environment) -> None:
    found = [line for line in installed.evaluate(LOOKUP).splitlines() if line.startswith("found ")]
    assert "found nnUNetTrainerAlignRefine" in found
    assert len(found) == len(set(found))


def test_editable_uses_the_repository_and_the_others_do_not(installed: Environment, clone: Path) -> None:
    package = Path(installed.evaluate("import nnunetv2_textguided; print(nnunetv2_textguided.__file__)")).parent
    folder = Path(installed.evaluate(VARIABLE))
    if "editable" in installed.folder.name:
        assert (package, folder) == (clone / "nnunetv2_textguided", clone / "trainers")
    else:
        assert (package.parent, folder) == (installed.site_packages, package / "trainers")


def test_isolated_interpreters_find_it_too_and_the_opt_out_is_obeyed(installed: Environment) -> None:
    folder = installed.evaluate(VARIABLE)
    isolated = installed.run(installed.python, "-I", "-c", VARIABLE)
    assert isolated.stdout.strip() == folder != ""
    assert installed.evaluate(VARIABLE, **{OPT_OUT: "1"}) == ""
    assert installed.evaluate(VARIABLE, nnUNet_extTrainer="/mine") == os.pathsep.join(["/mine", folder])


def test_env_prints_what_the_start_up_file_sets(installed: Environment) -> None:
    line = installed.run("nnUNetv2_textguided", "env", **{OPT_OUT: "1"})
    assert line.returncode == 0, line.stderr
    shell = installed.run("bash", "-c", line.stdout + 'printf %s "$nnUNet_extTrainer"', **{OPT_OUT: "1"})
    assert shell.stdout == installed.evaluate(VARIABLE)


@pytest.mark.parametrize("way", ["wheel", "editable"])
@pytest.mark.parametrize("uv", [False, True], ids=["pip", "uv"])
def test_uninstalling_leaves_nothing(
    way: str, uv: bool, clone: Path, distributions: dict[str, Path], host_packages: Path, nnunet_home: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    environment = make_environment(tmp_path / "environment", host_packages, nnunet_home)
    before = environment.files()
    install(environment, [distributions["wheel"]] if way == "wheel" else ["--editable", clone], uv=uv)
    # Running it compiles its modules: those caches have to go as well.
    assert environment.run("nnUNetv2_textguided", "--help").returncode == 0
    assert environment.files() > before
    if uv:
        run_here(sys.executable, "-m", "uv", "pip", "uninstall", "--python", environment.python, "nnunetv2-textguided")
    else:
        done = environment.run(environment.python, "-m", "pip", "uninstall", "--yes", "nnunetv2-textguided")
        assert done.returncode == 0, done.stderr
    assert environment.files() == before
    assert not (environment.folder / "bin" / "nnUNetv2_textguided").exists()
    assert environment.evaluate(VARIABLE) == ""


@pytest.mark.slow
@pytest.mark.parametrize("installed", ["wheel"], indirect=True)
def test_nnunets_own_tests_pass_with_the_plugin_installed(installed: Environment) -> None:
    done = installed.run(
        installed.python, "-m", "unittest", "nnunetv2.tests.test_paths", "nnunetv2.tests.test_find_objects"
    )
    assert done.returncode == 0, done.stderr
    assert "Ran 7 tests" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("installed", ["wheel"], indirect=True)
def test_stock_trainers_are_still_nnunets_own(installed: Environment) -> None:
    code = (
        "from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find; import sys;"
        "print(find('nnUNetTrainer').__module__, [m for m in sys.modules if m.startswith('nnunetv2_textguided.')])"
    )
    module, loaded = installed.evaluate(code).splitlines()[-1].split(" ", 1)
    assert module == "nnunetv2.training.nnUNetTrainer.nnUNetTrainer"
    assert loaded == "['nnunetv2_textguided.startup']"
