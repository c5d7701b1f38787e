"""Functions run in processes of their own that start in milliseconds, and that a test may kill.

They are forked from a server process that has imported nnU-Net and run nothing, so that a kill at a random moment costs
a fork, and not the ten seconds of an import.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

from nnunetv2_textguided.files import shipped
from tests.conftest import REPOSITORY

PRELOAD = "tests.reliability.preload"
# nnU-Net reads some of its variables when it is imported: they have to be set before the server is.
AT_IMPORT = {"OMP_NUM_THREADS": "1", "nnUNet_def_n_proc": "1", "nnUNet_n_proc_DA": "0", "nnUNet_compile": "false"}
TIMEOUT = 570


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


class Child:
    """A started function.

    Args:
        context: where to fork from.
        folder: for its output and result.
        function: a function of a module.
        arguments: its arguments.
        environment: variables to set in the process.
    """

    def __init__(
        self,
        context: ForkServerContext,
        folder: Path,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        environment: Mapping[str, str],
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.process = context.Process(target=_enter, args=(folder, function, arguments, dict(environment)))
        self.process.start()

    def kill(self) -> None:
        """kill -9 the process with all its helpers, as a scheduler or the kernel does; returns when it is gone."""
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError):
                kill(self.process.pid or 0, signal.SIGKILL)
        self.process.join(TIMEOUT)

    def finish(self) -> int:
        """Wait; the exit code, negative for a signal. A process that does not end is killed, and fails the test."""
        self.process.join(TIMEOUT)
        if self.process.exitcode is None:
            self.kill()
            raise AssertionError(f"no end after {TIMEOUT} s:\n{self.output[-3000:]}")
        return self.process.exitcode

    def result(self) -> Any:
        """What the function returned; what it raised fails the test."""
        code = self.finish()
        assert code == 0, f"exit code {code}\n{self.output[-4000:]}"
        return pickle.loads((self.folder / "result").read_bytes())

    @property
    def output(self) -> str:
        """What it printed so far."""
        path = self.folder / "output"
        return path.read_text(errors="replace") if path.exists() else ""


class Isolation:
    """Starts children; their nnU-Net folders are below `root`."""

    def __init__(self) -> None:
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload([PRELOAD])
        self.count = 0

    def start(self, root: Path, function: Callable[..., Any], *arguments: Any) -> Child:
        """Run `function(*arguments)` in a process whose nnU-Net folders are those of `root`."""
        self.count += 1
        folders = {f"nnUNet_{name}": str(root / name) for name in ("raw", "preprocessed", "results")}
        environment = {**AT_IMPORT, **folders, "nnUNet_extTrainer": str(shipped("trainers"))}
        search = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
        with _environment({**environment, "PYTHONPATH": search}):
            return Child(self.context, root / f"child_{self.count}", function, arguments, environment)

    def run(self, root: Path, function: Callable[..., Any], *arguments: Any) -> Any:
        """Like `start`, but wait for the result."""
        return self.start(root, function, *arguments).result()


def _enter(folder: Path, function: Callable[..., Any], arguments: tuple[Any, ...], environment: dict[str, str]) -> None:
    os.setsid()
    os.environ.update(environment)
    output = os.open(folder / "output", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout = sys.stderr = open(output, "w", buffering=1, encoding="utf-8", errors="replace")  # noqa: SIM115
    import torch

    torch.set_num_threads(1)
    # nnU-Net spawns its pools, and each process of them would import nnU-Net anew.
    original = multiprocessing.get_context
    multiprocessing.get_context = lambda method=None: original("fork" if method == "spawn" else method)  # type: ignore
    try:
        value = function(*arguments)
        (folder / "result").write_bytes(pickle.dumps(value))
    except BaseException:
        traceback.print_exc()
        sys.stdout.flush()
        os._exit(1)
    sys.stdout.flush()
    os._exit(0)
