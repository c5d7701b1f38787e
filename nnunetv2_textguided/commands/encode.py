"""`nnUNetv2_textguided encode`: embed the words of a data set with a text encoder."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from nnunetv2_textguided.nnunet.datasets import dataset_name, read_description
from nnunetv2_textguided.text.case_text import CaseText, describe_kinds, read_case_text
from nnunetv2_textguided.text.dataset import dataset_case_text, embedding_path, has_zones, prompted_names
from nnunetv2_textguided.text.embeddings import write_embeddings
from nnunetv2_textguided.text.encode import embed, embed_findings, encode
from nnunetv2_textguided.text.encoder import TextEncoder
from nnunetv2_textguided.text.encoders import NAMES, load_encoder
from nnunetv2_textguided.text.phrases import training_phrases
from nnunetv2_textguided.text.prompt_warnings import check_embeddings
from nnunetv2_textguided.text.sentence_table import SentenceTable
from nnunetv2_textguided.text.similarity import prompt_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    whose = parser.add_mutually_exclusive_group(required=True)
    whose.add_argument("-d", metavar="DATASET", help="id or name of an nnU-Net data set")
    whose.add_argument("--labels", nargs="+", metavar="LABEL", help="foreground labels, where the data set is not here")
    parser.add_argument("--case-text", metavar="FILE", type=Path,
                        help="whose sentences are embedded, too (default: the data set's case_text.json)")  # fmt: skip
    parser.add_argument("--encoder", default="biomedclip", help=f"{', '.join(NAMES)} (default: %(default)s)")
    parser.add_argument("--prompts", metavar="BANK", help="name or .json file of a prompt bank (default: by labels)")
    parser.add_argument(
        "--no-tokens",
        action="store_true",
        help="leave the per-token embeddings out: a smaller file, of which grounding understands fewer wordings",
    )
    parser.add_argument(
        "-o", metavar="FILE", type=Path, help="where to write (default: the data set's folder in nnUNet_preprocessed)"
    )


def run(args: argparse.Namespace) -> int:
    """Encode and write the file; returns the exit status."""
    if args.d is not None:
        dataset = dataset_name(args.d)
        content, path = read_description(dataset)
        labels, target = prompted_names(content, path, anatomy=True), args.o or embedding_path(dataset)
    else:
        labels, target = args.labels, args.o or Path("text_embeddings.safetensors")
    case_text, zones = None, False
    if args.d is not None:
        case_text, zones = dataset_case_text(dataset), has_zones(content, path)
    if args.case_text is not None:
        case_text = read_case_text(args.case_text), args.case_text
    command = shlex.join(["nnUNetv2_textguided", "encode", *_typed(args)])
    encoder = load_encoder(args.encoder)
    tables = _tables(encoder, case_text, zones, tokens=not args.no_tokens)
    embeddings = encode(encoder, args.prompts, labels, tokens=not args.no_tokens, command=command, tables=tables)
    write_embeddings(target, embeddings)
    tokens = "no tokens" if embeddings.tokens is None else f"{len(embeddings.tokens)} tokens"
    print(prompt_table(embeddings.bank))
    for warning in check_embeddings(embeddings):
        print(f"warning ({warning.kind}): {warning.message}")
    print(
        f"{len(embeddings.bank.prompts)} prompts of bank '{embeddings.bank.name}' and {tokens}, embedded by "
        f"{embeddings.encoder['id']} -> {target}"
    )
    if case_text is not None:
        print(f"case text: {describe_kinds(case_text[0])} ({case_text[1]})")
    for role, table in embeddings.tables.items():
        print(f"{len(table.texts)} {role}s, embedded as well")
    return 0


def _tables(
    encoder: TextEncoder, case_text: tuple[dict[str, CaseText], Path] | None, zones: bool, *, tokens: bool
) -> dict[str, SentenceTable]:
    """Location phrases, where there are zones that they can be learned from, and the sentences of the case text."""
    phrases = [phrase.text for phrase in training_phrases()] if zones else []
    tables = {"phrase": embed(encoder, phrases, tokens=tokens)} if phrases else {}
    findings = None if case_text is None else embed_findings(encoder, *case_text, tokens=tokens)
    return tables if findings is None else {**tables, "sentence": findings}


def _typed(args: argparse.Namespace) -> list[str]:
    words = ["-d", args.d] if args.d is not None else ["--labels", *args.labels]
    words += ["--encoder", args.encoder]
    words += ["--prompts", args.prompts] if args.prompts else []
    words += ["--case-text", str(args.case_text)] if args.case_text else []
    return words + (["--no-tokens"] if args.no_tokens else [])
