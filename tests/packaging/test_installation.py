"""Installed in each way that users install it: stock nnU-Net finds the trainers, and uninstalling leaves nothing."""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path

import pytest

from nnunetv2_textguided import training
from nnunetv2_textguided.startup import OPT_OUT
from tests.packaging.environment import Environment, install, make_environment, run_here, write_commands

# One interpreter does it all: nnU-Net imports its own trainers first, which takes seconds.
LOOKUP = """
import pickle, sys
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find
print("stock", find("nnUNetTrainer").__module__, *[m for m in sys.modules if m.startswith("nnunetv2_textguided")])
from nnunetv2_textguided import training
for name in training.__all__:
    found = find(name)
    assert found is getattr(training, name), found
    assert pickle.loads(pickle.dumps(found)) is found
    print("found", name)
"""
VARIABLE = "import os; print(os.environ.get('nnUNet_extTrainer', ''))"


@pytest.mark.slow
@pytest.mark.parametrize("installed", ["wheel", "editable"], indirect=True)
def test_stock_lookup_finds_every_trainer_and_stock_trainers_stay_stock(installed: Environment) -> None:
    stock, *found = [line for line in installed.evaluate(LOOKUP).splitlines() if line.startswith(("stock ", "found "))]
    # Whoever asks for a stock trainer gets nnU-Net's, and of this package nothing but the start-up module is loaded.
    assert stock.split()[1:] == [
        "nnunetv2.training.nnUNetTrainer.nnUNetTrainer", "nnunetv2_textguided", "nnunetv2_textguided.startup"
    ]  # fmt: skip
    assert set(found) == {f"found {name}" for name in training.__all__}
    assert "found nnUNetTrainerAlignRefine" in found


def test_every_way_installs_the_same_files(installed: Environment, distributions: dict[str, Path]) -> None:
    """So what is shown above for two ways holds for all."""
    caches = {name for name in installed.files() if "__pycache__" in name}
    files = {name for name in installed.files() - caches if (installed.site_packages / name).is_file()}
    of_project = {name for name in files if "dist-info" not in name and name != "zz_host.pth"}
    with zipfile.ZipFile(distributions["wheel"]) as wheel:
        shipped = {name for name in wheel.namelist() if "dist-info" not in name}
    start_up = {"nnunetv2_textguided.pth", "nnunetv2_textguided.start"}
    editable = start_up | {"_nnunetv2_textguided.pth"}
    assert of_project == (editable if "editable" in installed.folder.name else shipped)
    assert start_up <= shipped


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


@pytest.mark.nightly
@pytest.mark.parametrize("installed", ["wheel", "sdist"], indirect=True)
def test_the_demo_runs_from_what_is_installed_alone(installed: Environment, tmp_path: Path) -> None:
    write_commands(installed, "nnunetv2")
    done = installed.run("nnUNetv2_textguided", "demo", "--quick", "--output", tmp_path / "demo")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "<svg" in (tmp_path / "demo" / "report.html").read_text(encoding="utf-8")
    assert (tmp_path / "demo" / "demo.png").stat().st_size > 10_000
