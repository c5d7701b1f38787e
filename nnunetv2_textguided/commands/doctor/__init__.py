"""`nnUNetv2_textguided doctor`: says in plain words whether this installation works, and why not."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import textwrap

from nnunetv2_textguided import __version__


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    parser.add_argument("--json", action="store_true", help="print a JSON object instead of text")


def run(args: argparse.Namespace) -> int:
    """Run all checks; returns 0 only if all pass."""
    from nnunetv2_textguided.commands.doctor.examine import examine

    out = sys.stderr if args.json else sys.stdout
    print(f"nnunetv2-textguided {__version__}, Python {sys.version.split()[0]}, {sys.executable}", file=out)
    results = []
    for name, result in examine():
        if result is None:
            print(f"  {name:<20}", end=" ", flush=True, file=out)
            continue
        results.append({"name": name, **dataclasses.asdict(result)})
        print(f"{'ok    ' if result.ok else 'FAILED'} {result.message}", flush=True, file=out)
        if result.remedy:
            print(f"{'':<23}what to do: {result.remedy}", file=out)
        if result.details:
            print(textwrap.indent(result.details.rstrip(), " " * 23), file=out)
    passed = sum(bool(result["ok"]) for result in results)
    healthy = passed == len(results)
    verdict = "This installation works." if healthy else "This installation does not work."
    print(f"{verdict} {passed} of {len(results)} checks passed.", file=out)
    if args.json:
        print(json.dumps({"ok": healthy, "version": __version__, "checks": results}, indent=2))
    return 0 if healthy else 1
