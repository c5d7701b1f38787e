"""Costs with a promise of their own elsewhere (docs/discovery.md, docs/text.md), timed."""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.packaging.test_costs import command_line_help
from tests.packaging.test_startup import starts
from tests.performance.pairs import compare
from tests.performance.subjects import guided, training_step

TOKENS = {"num_tokens": 151, "token_dim": 384}
"""The default bank has 18 prompts, 151 tokens with MiniLM."""


def test_help_on_the_command_line(benchmark: Any) -> None:
    # Wall time; its limit of half a second of processor time is tests/packaging/test_costs.py's.
    benchmark.pedantic(command_line_help, rounds=5, warmup_rounds=1)
    benchmark.extra_info.update(kind="seconds", goal=7, name="`nnUNetv2_textguided --help`", limit=0.5)


def test_the_start_up_file(benchmark: Any, tmp_path: Path) -> None:
    runs = benchmark.pedantic(starts, args=(tmp_path,), rounds=1)
    seconds = statistics.median(float(run[0]) for run in runs)
    name = "Start-up file, in every interpreter of the environment"
    benchmark.extra_info.update(kind="seconds", goal=7, name=name, limit=0.001, value=seconds)
    assert seconds < 0.001


def test_doctor(benchmark: Any) -> None:
    def doctor() -> None:
        command = [sys.executable, "-m", "nnunetv2_textguided.cli", "doctor"]
        # What it finds is the environment's affair; that it looked is what counts here.
        assert "nnU-Net" in subprocess.run(command, capture_output=True, text=True, timeout=120).stdout

    benchmark.pedantic(doctor, rounds=1)
    benchmark.extra_info.update(kind="seconds", goal=7, name="`nnUNetv2_textguided doctor`", limit=30)


def test_attending_to_every_token_instead_of_every_prompt(benchmark: Any) -> None:
    patch = (8, 64, 64)
    tokens, pooled = (
        training_step(*guided({"refiner": {"tokens": choice}}, shrink=4, **text), patch)
        for choice, text in (("tokens", TOKENS), ("pooled", {}))
    )
    name = "Training step, refiner attends to 151 tokens : to 18 prompts"
    assert not compare(benchmark, tokens, pooled, 5, goal=None, name=name, limit=1.05).missed
