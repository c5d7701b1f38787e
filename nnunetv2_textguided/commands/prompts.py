"""`nnUNetv2_textguided prompts show|validate|compare`: what a data set, plans, a file or a model is told."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnunetv2_textguided.files import write_json
from nnunetv2_textguided.text.embeddings import ENCODER_KEYS
from nnunetv2_textguided.text.prompt_warnings import check_bank, check_embeddings
from nnunetv2_textguided.text.resolve import describe_difference
from nnunetv2_textguided.text.similarity import cosine_table, draw_cosines, prompt_table
from nnunetv2_textguided.text.source import TextSource, embed_with, open_source

_SOURCE = (
    "a shipped bank, a data set (id or name), or a file: prompt bank, dataset.json, plans, embedding file, checkpoint, "
    "model folder"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    actions = parser.add_subparsers(dest="action", required=True)
    show = actions.add_parser("show", help="print prompts, encoder and cosine matrix")
    show.add_argument("source", help=_SOURCE)
    show.add_argument("--picture", metavar="FILE", type=Path, help="write the cosine matrix as a picture")
    show.add_argument("-o", metavar="FILE", type=Path, help="write the bank as a .json file to edit")
    validate = actions.add_parser("validate", help="warn of negations, duplicates and prompts that mix")
    validate.add_argument("source", help=_SOURCE)
    compare = actions.add_parser(
        "compare", help="say what differs between two sources (exit status 3 if anything does)"
    )
    compare.add_argument("source", help=_SOURCE)
    compare.add_argument("other", help="the same")
    for action in (show, validate, compare):
        action.add_argument("-c", metavar="CONFIGURATION", help="configuration of plans")
        action.add_argument("--encoder", help="embed the prompts with this encoder now (see encode)")
    for action in (show, validate):
        action.add_argument("--prompts", metavar="BANK", help="for a data set: use this bank")


def run(args: argparse.Namespace) -> int:
    """Run one of the actions; returns the exit status."""
    source = _open(args.source, args)
    if args.action == "show":
        return _show(source, args)
    if args.action == "validate":
        return _validate(source)
    return _compare(source, _open(args.other, args))


def _open(name: str, args: argparse.Namespace) -> TextSource:
    source = open_source(name, configuration=args.c, prompts=getattr(args, "prompts", None))
    return embed_with(source, args.encoder) if args.encoder else source


def _show(source: TextSource, args: argparse.Namespace) -> int:
    print(f"{source.kind}: bank '{source.bank.name}', {source.origin}")
    print(f"encoder: {_encoder(source)}")
    print(f"prompts sha256: {source.bank.sha256}\n")
    print(prompt_table(source.bank))
    if source.embeddings is None:
        print("\nNo embeddings are known for these prompts: add --encoder NAME for the cosine matrix.")
    else:
        print(f"\n{cosine_table(source.embeddings)}")
    if args.o is not None:
        write_json(args.o, source.bank.to_json())
    if args.picture is not None and source.embeddings is not None:
        draw_cosines(source.embeddings, args.picture, f"{source.bank.name}, {_encoder(source)}")
        print(f"\npicture -> {args.picture}")
    return 0


def _validate(source: TextSource) -> int:
    found = check_bank(source.bank) if source.embeddings is None else check_embeddings(source.embeddings)
    for warning in found:
        print(f"warning ({warning.kind}): {warning.message}")
    scope = "wording only; add --encoder NAME for cosines" if source.embeddings is None else _encoder(source)
    print(f"{source.kind}: {len(source.bank.prompts)} prompts are valid, {len(found)} warnings ({scope})")
    return 0


def _compare(source: TextSource, other: TextSource) -> int:
    lines = []
    if source.bank.sha256 != other.bank.sha256:
        lines += describe_difference(source.bank, other.bank)
    if source.encoder is not None and other.encoder is not None:
        keys = [k for k in ENCODER_KEYS if source.encoder.get(k) != other.encoder.get(k)]
        lines += [f"encoder {k}: {source.encoder.get(k)} -> {other.encoder.get(k)}" for k in keys]
    elif source.encoder != other.encoder:
        lines.append(f"encoder: {_encoder(source)} -> {_encoder(other)}")
    for line in lines:
        print(line)
    print("different" if lines else "the same prompts and the same encoder")
    return 3 if lines else 0


def _encoder(source: TextSource) -> str:
    if source.encoder is None:
        return "none"
    return f"{source.encoder['id']} ({source.encoder['revision']}, {source.encoder['licence']})"
