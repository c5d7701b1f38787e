"""The import contracts of pyproject.toml: the build fails when one is broken, shown on a copy that breaks it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

CONTRACTS = {
    "upwards": ("losses/alignment.py", "from nnunetv2_textguided.training import trainer", "Imports point downwards"),
    "nnU-Net": ("losses/alignment.py", "import nnunetv2.paths", "nnunetv2 only behind its door"),
}


def lint(copy: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    variables = os.environ | {"PYTHONPATH": str(copy)}
    return subprocess.run(command, capture_output=True, text=True, cwd=copy, env=variables, timeout=300)


@pytest.mark.parametrize("kind", CONTRACTS)
def test_an_import_that_breaks_a_contract_fails_the_build(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("importlinter", reason="needs the extra `dev`")
    file, line, contract = CONTRACTS[kind]
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "nnunetv2_textguided", tmp_path / "nnunetv2_textguided", ignore=ignore)
    shutil.copyfile(REPOSITORY / "pyproject.toml", tmp_path / "pyproject.toml")
    whole = lint(tmp_path)
    assert whole.returncode == 0, whole.stdout
    path = tmp_path / "nnunetv2_textguided" / file
    path.write_text(path.read_text(encoding="utf-8") + f"\n{line}\n", encoding="utf-8")
    broken = lint(tmp_path)
    assert broken.returncode == 1
    assert " 0 broken" not in broken.stdout
    assert broken.stdout.count(contract) == 2, "in the list, and above what broke it"
