"""Run an nnU-Net command as a child process: progress bar, log file, and an explanation if it fails."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from nnunetv2_textguided.errors import TextGuidedError

TAIL_LINES = 20
POLL_SECONDS = 0.3
PATIENCE_SECONDS = 10.0


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
    """Run a command to its end.

    Args:
        arguments: the command's name and its arguments.
        environment: the child's whole environment.
        log: receives the child's output.
        title: what the progress bar says.
        total: steps of the progress bar.
        progress: asked several times a second; returns the steps done and what to show beside the bar.

    Returns:
        Seconds it took.

    Raises:
        CommandError: it failed; the message ends with the last lines of its log.
    """
    started = time.monotonic()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as output, tqdm(total=total, desc=title, leave=True) as bar:
        # A session of its own, so that an interrupted demo takes the child's data loading processes down with it.
        child = subprocess.Popen(
            [find_command(arguments[0]), *arguments[1:]],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while child.poll() is None:
                _show(bar, *progress())
                time.sleep(POLL_SECONDS)
        finally:
            _stop(child)
        if child.returncode == 0:
            _show(bar, total, progress()[1])
    if child.returncode != 0:
        raise CommandError(
            f"{arguments[0]} failed with exit status {child.returncode}. Its last lines:\n{tail(log)}",
            where=log,
            remedy="The whole output is in that file. `nnUNetv2_textguided doctor` checks the installation.",
        )
    return time.monotonic() - started


def tail(log: Path, lines: int = TAIL_LINES) -> str:
    """The last lines of a log, of which progress bars keep only their final state."""
    with log.open(encoding="utf-8", errors="replace") as file:
        last = deque((line.rstrip("\n").rsplit("\r", 1)[-1] for line in file if line.strip()), maxlen=lines)
    return "\n".join(f"    {line}" for line in last)


def _show(bar: tqdm, done: int, status: str) -> None:
    bar.n = min(done, bar.total)
    bar.set_postfix_str(status, refresh=False)
    bar.refresh()


def _stop(child: subprocess.Popen) -> None:
    if child.poll() is not None:
        return
    for kill in (signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)):
        if hasattr(os, "killpg"):
            os.killpg(child.pid, kill)
        else:
            child.terminate()
        try:
            child.wait(PATIENCE_SECONDS)
            return
        except subprocess.TimeoutExpired:
            continue
