"""A command that ends with its owner, together with everything that it has started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from nnunetv2_textguided.files import read_json


class Supervised:
    """A command under `keeper.py`, in a process group of its own. Made by `supervised`."""

    def __init__(self, child: subprocess.Popen[bytes], report: Path) -> None:
        self._child, self._report = child, report

    def runs(self) -> bool:
        """Whether the command, or something that it left behind, is still there."""
        return self._child.poll() is None

    def interrupt(self, seconds: float) -> None:
        """Send SIGINT to the group, and wait at most `seconds` for the command's end."""
        with suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(seconds)

    def measured(self) -> dict[str, Any]:
        """Exit `status` (negative: the signal) and `peak_resident_bytes`; empty where the keeper was killed."""
        return read_json(self._report) if self._report.is_file() else {}

    def end(self) -> None:
        """Kill what is left of the group."""
        if not self._report.is_file():
            with suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()
        if self._child.stdin is not None:
            self._child.stdin.close()


@contextmanager
def supervised(
    words: Sequence[str], report: Path, output: IO[bytes], environment: Mapping[str, str], keep: Sequence[int] = ()
) -> Iterator[Supervised]:
    """Run a command; when the block is left, or this process is killed, its whole group ends.

    Args:
        words: program and arguments.
        report: file for the keeper's report; removed at the end.
        output: receives what the command prints.
        environment: the command's whole environment.
        keep: file descriptors that stay open as long as the command runs, such as those of locks.
    """
    report.unlink(missing_ok=True)
    child = subprocess.Popen(
        [sys.executable, "-m", "nnunetv2_textguided.processes.keeper", str(report), *words],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=dict(environment),
        start_new_session=True,
        pass_fds=tuple(keep),
    )
    command = Supervised(child, report)
    try:
        yield command
    finally:
        command.end()
        report.unlink(missing_ok=True)
