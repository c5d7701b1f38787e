"""`nnUNetv2_textguided doctor`: says in plain words whether this installation works, and why not."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import textwrap
from collections.abc import Iterable

from nnunetv2_textguided import __version__
from nnunetv2_textguided.commands.doctor.result import CheckResult


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    parser.add_argument("--json", action="store_true", help="print a JSON object instead of text")


def run(args: argparse.Namespace) -> int:
    """Run all checks; returns 0 only if all pass."""
    from nnunetv2_textguided.commands.doctor.examine import examine
    from nnunetv2_textguided.commands.doctor.probe import CHECKS

    out = sys.stderr if args.json else sys.stdout
    print(f"nnunetv2-textguided {__version__}, Python {sys.version.split()[0]}, {sys.executable}", file=out)
    results: dict[str, CheckResult] = {}
    for name, result in examine():
        if result is None:
            # Before the check runs: importing torch takes seconds, and longer on a network file system.
            print(f"  {len(results) + 1:>2}/{len(CHECKS)} {name:<20}", end=" ", flush=True, file=out)
            continue
        results[name] = result
        print(f"{_mark(result)} {result.message}", flush=True, file=out)
        if result.remedy:
            print(f"{'':<29}what to do: {result.remedy}", file=out)
        if result.details:
            print(textwrap.indent(result.details.rstrip(), " " * 29), file=out)
    verdict = judge(results.values())
    print(f"{verdict} {sum(r.ok for r in results.values())} of {len(results)} checks passed.", file=out)
    healthy = all(result.ok for result in results.values())
    if args.json:
        checks = [{"name": name, **dataclasses.asdict(result)} for name, result in results.items()]
        report = {"ok": healthy, "verdict": verdict, "version": __version__, "checks": checks}
        print(json.dumps(report, indent=2))
    return 0 if healthy else 1


def judge(results: Iterable[CheckResult]) -> str:
    """One sentence: it works, it is whole but not set up yet, or it does not work."""
    missing = [result for result in results if not result.ok]
    if not missing:
        return "This installation works."
    if all(result.pending for result in missing):
        return "This installation is whole, but not set up yet: do what is said above."
    return "This installation does not work."


def _mark(result: CheckResult) -> str:
    return "ok    " if result.ok else "to do " if result.pending else "FAILED"
