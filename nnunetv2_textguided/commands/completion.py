"""`nnUNetv2_textguided completion`: a script that completes this command's words in a shell."""

from __future__ import annotations

import argparse

from nnunetv2_textguided.errors import TextGuidedError

SHELLS = ("bash", "zsh", "tcsh")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    parser.add_argument("shell", choices=SHELLS, help="the shell, whose script is printed")


def run(args: argparse.Namespace) -> int:
    """Print the script; returns the exit status."""
    from nnunetv2_textguided.commands.parser import SUBCOMMANDS, build_parser

    try:
        import shtab
    except ImportError as error:
        raise TextGuidedError(
            f"The script is made by the package shtab, which cannot be imported: {error}.",
            where="completion",
            remedy="pip install shtab",
        ) from error
    print(shtab.complete(build_parser(SUBCOMMANDS), shell=args.shell))
    return 0
