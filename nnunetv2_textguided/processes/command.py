"""Run an nnU-Net command as a child process: progress bar, log file, and an explanation if it fails."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from nnunetv2_textguided.errors import TextGuidedError
from nnunetv2_textguided.processes.supervised import supervised

TAIL_LINES = 20
POLL_SECONDS = 0.3


class CommandError(TextGuidedError):
    """A command that the demo started could not be found or did not succeed."""


def find_command(name: str) -> str:
    """The installed command `name`, of this Python's environment rather than of whatever comes first on PATH.

    Raises:
        CommandError: there is none.
    """
    here = str(Path(sys.executable).parent)
    found = shutil.which(name, path=os.pathsep.join([here, os.environ.get("PATH", "")]))
    if found is None:
        raise CommandError(
            f"The command {name} is not installed.", where=here, remedy="Install nnunetv2 into this environment."
        )
    return found


def run_command(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    log: Path,
    title: str,
    total: int,
    progress: Callable[[], tuple[int, str]],
) -> float:
    """Run a command to its end; whatever ends this process ends it and all that it started, too.

    Args:
        arguments: the command's name and its arguments.
        environment, log: the child's whole environment, and what receives its output.
        title, total: what the progress bar says, and its steps.
        progress: asked several times a second; returns the steps done and what to show beside the bar.

    Returns:
        Seconds it took.

    Raises:
        CommandError: it failed; the message ends with the last lines of its log.
    """
    started, report = time.monotonic(), log.with_name(f"{log.name}.exit")
    log.parent.mkdir(parents=True, exist_ok=True)
    words = [find_command(arguments[0]), *arguments[1:]]
    with (
        log.open("wb") as output,
        tqdm(total=total, desc=title, leave=True) as bar,
        supervised(words, report, output, environment) as command,
    ):
        while command.runs():
            _show(bar, *progress())
            time.sleep(POLL_SECONDS)
        status = int(command.measured().get("status", -signal.SIGKILL))
        if status == 0:
            _show(bar, total, progress()[1])
    if status != 0:
        raise _failure(arguments[0], status, log)
    return time.monotonic() - started


def _failure(name: str, status: int, log: Path) -> CommandError:
    return CommandError(
        f"{name} failed with exit status {status}. Its last lines:\n{tail(log)}",
        where=log,
        remedy="The whole output is in that file. `nnUNetv2_textguided doctor` checks the installation.",
    )


def tail(log: Path, lines: int = TAIL_LINES) -> str:
    """The last lines of a log, of which progress bars keep only their final state."""
    with log.open(encoding="utf-8", errors="replace") as file:
        last = deque((line.rstrip("\n").rsplit("\r", 1)[-1] for line in file if line.strip()), maxlen=lines)
    return "\n".join(f"    {line}" for line in last)


def _show(bar: tqdm, done: int, status: str) -> None:
    bar.n = min(done, bar.total)
    bar.set_postfix_str(status, refresh=False)
    bar.refresh()
