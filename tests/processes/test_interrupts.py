"""What a signal does to processes that are forked while a command may be interrupted."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from nnunetv2_textguided.processes.interrupts import interruptible

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

POOLS = """
import multiprocessing, sys
from nnunetv2_textguided.processes.interrupts import interruptible
with interruptible():
    for _ in range(int(sys.argv[1])):
        with multiprocessing.get_context("fork").Pool(12) as pool:
            pool.map(abs, [1, 2])
"""


def test_sigterm_ends_a_forked_process_at_once() -> None:
    with interruptible():
        process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        process.start()
        process.terminate()
        process.join(30)
        assert process.exitcode == -signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):  # and still interrupts the process that forked
            signal.raise_signal(signal.SIGTERM)
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_sigterm_that_comes_during_a_fork_is_not_lost() -> None:
    """It is sent before the child has done anything, while it still has the handler of its parent."""
    with interruptible():
        assert _forked_and_told_to_end() == signal.SIGTERM


def test_a_fork_of_another_thread_leaves_signals_as_they_are() -> None:
    ended: list[int] = []

    with interruptible():
        thread = threading.Thread(target=lambda: ended.append(_forked_and_told_to_end()))
        thread.start()
        thread.join()
        assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
    assert ended == [signal.SIGTERM]


def test_pools_that_nnunet_forks_end_quietly() -> None:
    """Once in some hundred of them, a worker that was told to end waited for work for ever, and the pool for it."""
    done = subprocess.run([sys.executable, "-c", POOLS, "40"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0
    assert done.stderr == ""


def _forked_and_told_to_end() -> int:
    """The signal that ended a child; it is killed where SIGTERM does not within half a minute."""
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    os.kill(child, signal.SIGTERM)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.WTERMSIG(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    return os.WTERMSIG(os.waitpid(child, 0)[1])
