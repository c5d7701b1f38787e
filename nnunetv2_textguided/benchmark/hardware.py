"""What a training ran on, and the memory that it took there."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

SAMPLE_SECONDS = 10.0
_QUERY = ("name", "memory.total", "memory.used", "driver_version")


def describe_hardware(gpu: str | None) -> dict[str, Any]:
    """Host, processor, cores that this process may use, memory, and the GPU.

    Args:
        gpu: the first entry of CUDA_VISIBLE_DEVICES; None: no GPU is used.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    described: dict[str, Any] = {"host": socket.gethostname(), "cpu": _processor(), "cores": cores}
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        described["memory_bytes"] = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found = None if gpu is None else _query_gpu(gpu)
    if found is not None:
        described |= {"gpu": found["name"], "gpu_memory_mib": found["memory.total"], "driver": found["driver_version"]}
    return described


class GpuMemory:
    """The largest use of a GPU's memory that was seen.

    It is the whole device's: a training has it to itself, and process numbers mean nothing inside a container.

    Args:
        gpu: the first entry of CUDA_VISIBLE_DEVICES; None: no GPU is used.
    """

    def __init__(self, gpu: str | None) -> None:
        self.gpu, self._sampled = gpu, 0.0
        self.peak_bytes: int | None = None

    def sample(self) -> None:
        """Look, if it is time to. To be called often."""
        if self.gpu is None or time.monotonic() - self._sampled < SAMPLE_SECONDS:
            return
        self._sampled = time.monotonic()
        found = _query_gpu(self.gpu)
        if found is not None and found["memory.used"].isdigit():
            self.peak_bytes = max(self.peak_bytes or 0, int(found["memory.used"]) << 20)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _query_gpu(gpu: str) -> dict[str, str] | None:
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", "-i", gpu, f"--query-gpu={','.join(_QUERY)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None  # a MIG slice, a driver that hangs: the record then says nothing about the GPU
    values = [word.strip() for word in done.stdout.strip().split(",")]
    return dict(zip(_QUERY, values, strict=True)) if len(values) == len(_QUERY) else None
