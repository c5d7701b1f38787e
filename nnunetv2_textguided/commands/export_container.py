"""`nnUNetv2_textguided export-container`: the build folder of a Grand Challenge algorithm container."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    parser.add_argument("--model", type=Path, required=True, help="ZIP of nnUNetv2_export_model_to_zip, or a folder")
    parser.add_argument("-o", dest="output", type=Path, required=True, help="folder to write")


def run(args: argparse.Namespace) -> int:
    """Write the folder."""
    from nnunetv2_textguided.inference.container import export_container

    for path in export_container(args.model, args.output):
        print(path)
    print(f"docker build -t nnunetv2-textguided-picai {args.output}; or {args.output}/test.sh INPUT OUTPUT")
    return 0
