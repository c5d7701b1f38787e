"""Who works on a fold: at most one worker at a time, on any machine, also after crashes.

A claim is a file `benchmark_claim.N` in the fold's folder. Where claim N is dead, claim N+1 can be made, and only one
worker can make it: a hard link appears once, on network file systems too, whose locks cannot be relied on.
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from nnunetv2_textguided.files import write_json

PREFIX = "benchmark_claim."
BEAT_SECONDS = 15.0
STALE_SECONDS = 300.0
"""A claim of another machine whose worker has not touched it for so long is dead."""


@dataclass(frozen=True)
class Holder:
    """Content of a claim.

    Attributes:
        host: name of the machine.
        namespace: of its process numbers: a container has its own, often under the machine's name.
        pids: processes of that machine that work on the fold; the claim lives as long as one of them.
        started: for each process, when it started (clock ticks since boot): numbers of processes are used again.
        token: identifies the claim.
    """

    host: str
    namespace: str
    pids: tuple[int, ...]
    started: tuple[str, ...]
    token: str

    def __str__(self) -> str:
        return f"process {self.pids[0]} on {self.host}"


class Claim:
    """A fold's claim, held by this process until `release`."""

    def __init__(self, path: Path, holder: Holder) -> None:
        self.path, self.holder, self._beaten = path, holder, time.monotonic()

    def include(self, pid: int) -> None:
        """Keep the claim alive as long as that process is, too: a training may outlive its worker."""
        self.holder = _with_process(self.holder, pid)
        write_json(self.path, asdict(self.holder))

    def beat(self) -> None:
        """Show other machines that the worker lives. To be called often."""
        if time.monotonic() - self._beaten >= BEAT_SECONDS:
            self._beaten = time.monotonic()
            with suppress(FileNotFoundError):  # the fold's folder was deleted: the training will notice
                os.utime(self.path)

    def release(self) -> None:
        """Give the fold free."""
        self.path.unlink(missing_ok=True)


def take_claim(folder: Path) -> Claim | Holder:
    """Claim a fold for this process.

    Returns:
        The claim; or who holds it, where somebody does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    number = max((number for number, _ in _claims(folder)), default=0) + 1
    living = find_holder(folder)
    if living is not None:
        return living
    holder = _with_process(Holder(*_here(), (), (), uuid.uuid4().hex), os.getpid())
    path, draft = folder / f"{PREFIX}{number}", folder / f".{PREFIX}{holder.token}"
    draft.write_text(json.dumps(asdict(holder)), encoding="utf-8")
    try:
        _appear(draft, path)
    except FileExistsError:
        return find_holder(folder) or _read(path) or holder
    finally:
        draft.unlink()
    # Another may have found the same dead claim but seen other numbers. Whoever looks last sees both, and steps back.
    rival = find_holder(folder, besides=holder.token)
    if rival is not None:
        path.unlink(missing_ok=True)
        return rival
    for other, file in _claims(folder):
        if other < number:
            file.unlink(missing_ok=True)
    return Claim(path, holder)


def _appear(draft: Path, path: Path) -> None:
    """Give the draft its name, unless there is a file of that name: then FileExistsError."""
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        with path.open("x", encoding="utf-8") as file:
            file.write(draft.read_text(encoding="utf-8"))


def find_holder(folder: Path, besides: str = "") -> Holder | None:
    """Who works on a fold; None: nobody.

    Args:
        folder: the fold's folder.
        besides: a claim's token that does not count.
    """
    for _, path in _claims(folder):
        holder = _read(path)
        if holder is not None and holder.token != besides and _lives(path, holder):
            return holder
    return None


def _read(path: Path) -> Holder | None:
    """The content of a claim's file; None where it is gone or no claim."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        pids, started = tuple(content["pids"]), tuple(content["started"])
        return Holder(content["host"], content["namespace"], pids, started, content["token"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _claims(folder: Path) -> Iterator[tuple[int, Path]]:
    for path in folder.glob(f"{PREFIX}*"):
        number = path.name[len(PREFIX) :]
        if number.isdigit():
            yield int(number), path


def _lives(path: Path, holder: Holder) -> bool:
    if (holder.host, holder.namespace) == _here():
        return any(
            _start_time(pid) == started for pid, started in zip(holder.pids, holder.started, strict=True) if started
        )
    with suppress(FileNotFoundError):
        return time.time() - path.stat().st_mtime < STALE_SECONDS
    return False


def _here() -> tuple[str, str]:
    """The machine, and what its process numbers refer to."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:  # no Linux
        namespace = ""
    return socket.gethostname(), namespace


def _with_process(holder: Holder, pid: int) -> Holder:
    return replace(holder, pids=(*holder.pids, pid), started=(*holder.started, _start_time(pid) or ""))


def _start_time(pid: int) -> str | None:
    """When a process started, as a text that only that process has; None: it is gone (or a zombie)."""
    try:
        # The command's name may hold spaces and brackets; what follows it is plain.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self/stat").exists():
            return None
    try:  # no /proc, as on macOS: only whether there is such a process
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "running"
