"""Runs the checks in fresh interpreters and yields what they find, also when one of them dies or hangs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from typing import IO

from nnunetv2_textguided.commands.doctor.probe import CHECKS
from nnunetv2_textguided.commands.doctor.result import CheckResult

# A console command does not have the current folder on its path; `python -c` would.
_CODE = (
    "import sys; sys.path[:] = [p for p in sys.path if p]; "
    "from nnunetv2_textguided.commands.doctor.probe import main; main(sys.argv[1:])"
)
SECONDS = 600.0
"""Only a check that hangs takes that long, even on a busy machine with a slow network file system."""


def examine(names: Sequence[str] = tuple(CHECKS), seconds: float = SECONDS) -> Iterator[tuple[str, CheckResult | None]]:
    """Yield (name, None) when a check starts and (name, result) when it ends.

    Args:
        names: the checks.
        seconds: time allowed to all checks together.
    """
    waiting = list(names)
    while waiting:
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
            yield waiting[0], None
            with subprocess.Popen(
                [sys.executable, "-c", _CODE, *waiting], stdout=subprocess.PIPE, stderr=errors, text=True
            ) as process:
                # Timer rather than a timeout of read: reading lines has none.
                timer = threading.Timer(seconds, process.kill)
                timer.start()
                try:
                    for line in process.stdout or ():
                        result = json.loads(line)
                        name = result.pop("name")
                        waiting.remove(name)
                        yield name, CheckResult(**result)
                        if waiting:
                            yield waiting[0], None
                finally:
                    # Also when nobody listens any more (`doctor | head -3`): Python would wait for the timer at exit.
                    timer.cancel()
            if waiting:
                # The interpreter died in this check. The others get another one.
                yield waiting.pop(0), _died(process.returncode, errors)


def _died(status: int, errors: IO[str]) -> CheckResult:
    errors.seek(0)
    how = f"status {status}" if status >= 0 else signal.Signals(-status).name if os.name == "posix" else str(status)
    return CheckResult(
        False,
        f"The interpreter died or hung during this check ({how}).",
        "A library is broken: see what it printed last; a fresh environment is the usual cure.",
        errors.read()[-4000:],
    )
