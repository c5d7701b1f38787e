"""Time and memory of a training step on this machine's GPU, as a table: `python -m tests.performance.gpu`.

Full widths and PI-CAI's patch in half precision, with and without torch.compile (nnU-Net compiles by default).
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch

from tests.gpu.step import Step
from tests.performance.subjects import FULL_SIZE, NARROW, NO_TEXT, SHARED

SUBJECTS: dict[str, Mapping[str, Any] | None] = {
    "stock network": None,
    "one encoder per channel, no text": NO_TEXT,
    "AlignRefine": {},
    "AlignRefine, feedback and conditioning": {"alignment": {"feedback": True, "conditioning": "image"}},
    "AlignRefine, width 0.625": NARROW,
    "AlignRefine, shared from stage 1": SHARED,
    "AlignRefine, checkpointing": {"encoders": {"checkpointing": "stages"}},
}

COMPILED = ("stock network", "one encoder per channel, no text", "AlignRefine")
"""Compiling takes a minute each."""


def seconds(step: Callable[[], Any], repeats: int = 12) -> float:
    """Median of the device's own clock, after warm-up."""
    for _ in range(5):
        step()
    times = []
    for _ in range(repeats):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        step()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end) / 1000)
    return statistics.median(times)


def measure(overrides: Mapping[str, Any] | None, compiled: bool) -> tuple[float, float]:
    """Seconds per step and peak memory in GB of one network."""
    torch._dynamo.reset()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    step = Step(overrides, FULL_SIZE, wrap=torch.compile if compiled else lambda network: network)
    step.set_weights(0.06, 0.15, 1.0)
    return seconds(step), torch.cuda.max_memory_allocated() / 1e9


def main() -> None:
    """Measure all and print; `--json FILE` writes the numbers, too."""
    torch.backends.cudnn.benchmark = True  # as nnU-Net does
    rows: dict[str, dict[str, float]] = {}
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, batch 2 of {FULL_SIZE}")
    for compiled in (False, True):
        reference: tuple[float, float] | None = None
        for name in COMPILED if compiled else SUBJECTS:
            title = f"{name}{', compiled' if compiled else ''}"
            time, memory = measure(SUBJECTS[name], compiled)
            reference = reference or (time, memory)
            rows[title] = {"seconds": time, "gigabytes": memory, "time_ratio": time / reference[0]}
            rows[title]["memory_ratio"] = memory / reference[1]
            print(f"{title:60} {time:7.4f} s {time / reference[0]:5.2f} {memory:6.1f} GB {memory / reference[1]:5.2f}")
            sys.stdout.flush()
    if "--json" in sys.argv:
        with open(sys.argv[sys.argv.index("--json") + 1], "w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
