"""`nnUNetv2_textguided env`: the line that makes nnU-Net find the trainers where the start-up file is disabled."""

from __future__ import annotations

import argparse

from nnunetv2_textguided.files import shipped


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    parser.add_argument("--shell", choices=("bash", "powershell"), default="bash", help="syntax of the line")


def run(args: argparse.Namespace) -> int:
    """Print the line; returns the exit status."""
    folder = shipped("trainers")
    if args.shell == "bash":
        print(f'export nnUNet_extTrainer="{folder}${{nnUNet_extTrainer:+:$nnUNet_extTrainer}}"')
    else:
        print(f'$env:nnUNet_extTrainer = "{folder}" + $(if ($env:nnUNet_extTrainer) {{";$env:nnUNet_extTrainer"}})')
    return 0
