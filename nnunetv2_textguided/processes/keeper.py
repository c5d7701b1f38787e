"""Runs one command in a process group of its own, and takes the whole group down when it ends or its owner is gone.

Started as `python -m nnunetv2_textguided.processes.keeper REPORT COMMAND...`, with a pipe as standard input. nnU-Net's
data loading processes outlive a killed training, and a training outlives a killed worker; here neither does: the pipe
closes whenever the owner dies, whatever kills it. Imports nothing but the standard library, so that it starts at once.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]


def main(report: str, command: list[str]) -> int:
    """Run the command.

    Args:
        report: file that receives, as JSON, the exit status (negative: the signal that killed it) and the largest
            resident memory in bytes of any one of its processes (null where unknown).
        command: program and arguments.

    Returns:
        0; the command's own status is in the report.
    """
    if os.getpgrp() != os.getpid():
        os.setsid()
    # A handler, unlike SIG_IGN, is not inherited: the command can be interrupted, whatever its starter ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    watch = threading.Thread(target=_kill_group_when_orphaned, daemon=True)
    watch.start()
    status = child.wait()
    # ru_maxrss counts kibibytes on Linux, bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    peak = None if resource is None else resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    temporary = f"{report}.partial"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump({"status": status, "peak_resident_bytes": peak}, file)
    os.replace(temporary, report)
    # What the command left behind; this process belongs to the group, too.
    os.killpg(0, signal.SIGKILL)
    return 0


def _kill_group_when_orphaned() -> None:
    sys.stdin.buffer.read()
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
