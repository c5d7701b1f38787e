"""`nnUNetv2_textguided env`: the line that makes nnU-Net find the trainers where the start-up file is disabled."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable

from nnunetv2_textguided.errors import TextGuidedError
from nnunetv2_textguided.startup import VARIABLE, shim_folder


def bash(folder: str) -> str:
    """For sh, bash and zsh. As the start-up file does, it appends: the user's own folders keep precedence."""
    return f'export {VARIABLE}="${{{VARIABLE}:+${VARIABLE}:}}"{shlex.quote(folder)}'


def fish(folder: str) -> str:
    """For fish."""
    quoted = folder.replace("\\", "\\\\").replace("'", "\\'")
    return f"set -gx {VARIABLE} (string join : ${VARIABLE} '{quoted}')"


def powershell(folder: str) -> str:
    """For PowerShell, on any system."""
    quoted = folder.replace("'", "''")
    own = f"$(if ($env:{VARIABLE}) {{ $env:{VARIABLE} + [IO.Path]::PathSeparator }})"
    return f"$env:{VARIABLE} = {own} + '{quoted}'"


def cmd(folder: str) -> str:
    """For the Windows command prompt."""
    return f'if defined {VARIABLE} (set "{VARIABLE}=%{VARIABLE}%;{folder}") else (set "{VARIABLE}={folder}")'


SHELLS: dict[str, Callable[[str], str]] = {"bash": bash, "fish": fish, "powershell": powershell, "cmd": cmd}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    parser.add_argument("--shell", choices=tuple(SHELLS), default="bash", help="syntax of the line (default: bash)")


def run(args: argparse.Namespace) -> int:
    """Print the line; returns the exit status.

    Raises:
        TextGuidedError: there is no folder that the variable could name.
    """
    folder = shim_folder()
    if folder is None:
        raise TextGuidedError(
            f"There is no folder of trainers that {VARIABLE} could name.",
            remedy="Run `nnUNetv2_textguided doctor`; reinstall nnunetv2-textguided.",
        )
    print(SHELLS[args.shell](folder))
    return 0
