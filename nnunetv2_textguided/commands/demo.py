"""`nnUNetv2_textguided demo`: train, predict and explain on a small procedural phantom, and write a report."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from nnunetv2_textguided.commands.numbers import count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    parser.add_argument(
        "--output", type=Path, default=Path("demo_output"), help="folder to fill (default: %(default)s)"
    )
    parser.add_argument("--seed", type=count("--seed", 0), default=0, help="seed of the phantom (default: %(default)s)")
    parser.add_argument(
        "--device", choices=("cpu", "cuda", "mps"), default="cpu", help="nnU-Net's -device (default: %(default)s)"
    )
    parser.add_argument("--quick", action="store_true", help="run everything in a minute, learn nothing")


def run(args: argparse.Namespace) -> int:
    """Run the demo; returns the exit status."""
    # Read when torch is loaded; see workspace.py.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from nnunetv2_textguided.demo.figure import write_figure
    from nnunetv2_textguided.demo.report import write_report
    from nnunetv2_textguided.demo.run import FULL, QUICK, run_demo
    from nnunetv2_textguided.demo.scores import score_table

    record = run_demo(args.output, QUICK if args.quick else FULL, seed=args.seed, device=args.device)
    write_report(args.output / "report.html", record)
    write_figure(args.output / "demo.png", record)
    print(f"\n{score_table([c.trained for c in record.cases], [c.untrained for c in record.cases])}\n")
    print(f"Report: {(args.output / 'report.html').resolve()}")
    return 0
