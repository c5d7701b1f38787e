"""A fold's lock: at most one process trains it. The kernel frees it when its holder is gone, whatever ended it."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

NAME = "benchmark.lock"


def try_lock(path: Path) -> int | None:
    """Lock a file without waiting.

    Returns:
        The open file's descriptor, which holds the lock until it is closed here and in every process that inherited
        it; None: somebody else has the lock.

    Raises:
        OSError: the file system has no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
    return descriptor


def holder(path: Path) -> str:
    """Who locked the file last."""
    return path.read_text(encoding="utf-8", errors="replace").strip() or "another process"
