"""`nnUNetv2_textguided benchmark compare`: models in tables of cases, over patients and trainings."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnunetv2_textguided.commands.model import add_price
from nnunetv2_textguided.errors import DataError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this action's arguments."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="per_case.csv of reports, or like it")
    parser.add_argument("--where", nargs="+", default=[], metavar="COLUMN=VALUE", help="rows to read (default: all)")
    parser.add_argument("--titles", type=Path, metavar="JSON", help="what models are called: {NAME: TITLE}")
    parser.add_argument("--baseline", metavar="MODEL", help="print every other model minus this one")
    add_price(parser, " where thresholds are fitted")
    parser.add_argument("--into", type=Path, metavar="PAGE", help="fill the tables that a Markdown page asks for")


def run(args: argparse.Namespace) -> int:
    """Print tables, or put them into a page; returns the exit status."""
    from nnunetv2_textguided.evaluation.case_files import read_case_files
    from nnunetv2_textguided.evaluation.case_tables import Tables
    from nnunetv2_textguided.files import read_json, write_text

    cases = read_case_files(args.files, _where(args.where), args.price)
    titles = read_json(args.titles, error=DataError) if args.titles else {}
    flat: dict[str, str] = {}
    for name, title in titles.items():
        flat |= title if isinstance(title, dict) else {name: title}
    tables = Tables(cases, flat)
    if args.into:
        write_text(args.into, tables.fill(args.into.read_text(encoding="utf-8")))
        return 0
    print(tables.made("values", " ".join(cases.models)))
    others = [model for model in cases.models if model != args.baseline]
    if args.baseline and others:
        what = f"{' '.join(others)} minus {args.baseline}"
        print("\n" + tables.made("differences", what))
        print("\n" + tables.made("thresholds", what) + "\n")
        print("\n".join(filter(None, tables.sentences(what))))
    return 0


def _where(words: list[str]) -> dict[str, str]:
    chosen = {}
    for word in words:
        column, equals, value = word.partition("=")
        if not equals:
            raise DataError(f"{word!r} is no choice of rows.", where="--where", remedy="Give COLUMN=VALUE.")
        chosen[column] = value
    return chosen
