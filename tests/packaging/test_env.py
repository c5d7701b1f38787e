"""`nnUNetv2_textguided env`: its lines survive the shell, whatever the folder is called."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from nnunetv2_textguided import cli
from nnunetv2_textguided.commands import env
from nnunetv2_textguided.startup import VARIABLE, shim_folder

FOLDERS = ["/plain", "/two words", "/größe 前列腺", "/a$HOME`date`", "/quote'and\"quote", "/back\\slash"]
# Programs that read a syntax, and how to show the variable in it.
SHOW = {"bash": 'printf %s "$nnUNet_extTrainer"', "powershell": "Write-Host -NoNewline $env:nnUNet_extTrainer"}
SHOW["fish"] = SHOW["bash"]
PROGRAMS = {"sh": "bash", "bash": "bash", "zsh": "bash", "fish": "fish", "pwsh": "powershell"}


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("before", [None, "", "/mine"])
@pytest.mark.parametrize("program", [*filter(shutil.which, PROGRAMS)])
def test_the_shell_appends_exactly_the_folder(program: str, folder: str, before: str | None) -> None:
    variables = {key: value for key, value in os.environ.items() if key != VARIABLE}
    if before is not None:
        variables[VARIABLE] = before
    shell = PROGRAMS[program]
    script = f"{env.SHELLS[shell](folder)}\n{SHOW[shell]}"
    done = subprocess.run([program, "-c", script], capture_output=True, text=True, env=variables)
    assert done.stdout == (f"/mine:{folder}" if before else folder), done.stderr


def test_powershell_doubles_single_quotes() -> None:
    assert env.powershell(r"C:\it's").endswith(r" + 'C:\it''s'")


def test_every_shell_names_the_folder_of_the_start_up_file(capsys: pytest.CaptureFixture[str]) -> None:
    for shell in env.SHELLS:
        assert cli.main(["env", "--shell", shell]) == 0
        assert str(shim_folder()) in capsys.readouterr().out


def test_no_folder_is_an_error_with_a_remedy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(env, "shim_folder", lambda: None)
    assert cli.main(["env"]) == 1
    assert "doctor" in capsys.readouterr().err
