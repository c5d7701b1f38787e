"""The command `nnUNetv2_textguided <subcommand>`: a table of lazily imported subcommands."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from nnunetv2_textguided import __version__
from nnunetv2_textguided.errors import TextGuidedError

# Subcommand -> what it does. Its module, commands/<subcommand>.py, has add_arguments(parser) and run(args) -> exit
# status. Modules are imported only when used: `--help` has to answer before torch could be imported.
SUBCOMMANDS = {
    "anatomy": "preprocess anatomical label maps, which supervise the text without being segmented",
    "benchmark": "cross-validate several trainers: train what is missing, compare with honest statistics",
    "convert-weights": "make a stock nnU-Net checkpoint one that -pretrained_weights accepts",
    "doctor": "say in plain words whether this installation works, and why not",
    "encode": "embed the prompts of a data set with a text encoder",
    "export-container": "write a Grand Challenge algorithm container around a trained model",
    "export-model": "write a trained model as a folder for the Hugging Face hub: safetensors, checksums, card",
    "inspect": "say what a trained model is: trainer, preset, prompts, encoder, phases, folds, Dice",
    "install-model": "install a model of export-model from a folder, a ZIP or the hub, executing nothing of it",
    "likelihood": "fit how likely a case has the disease: image, clinical facts and PI-RADS, cross-fitted",
    "predict": "predict as nnUNetv2_predict does, with heatmaps, lesion table, overlays and viewer",
    "predict-case": "predict one patient from image files or DICOM, with report, DICOM segmentation and SR",
    "plan": "plan a data set for this network: patch and batch that fit the GPU, all encoders counted",
    "prompts": "show, check and compare the prompts of a data set, plans, file or model",
    "demo": "train, predict and explain on a small synthetic data set, and write a report",
    "env": "print the line that makes nnU-Net find the trainers where the start-up file is disabled",
    "picai": "PI-CAI: prepare the archive for nnU-Net, check a data set, evaluate predictions",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit status: 0 done, 1 an error that a user can mend, 2 wrong usage, 130 interrupted.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog="nnUNetv2_textguided", description="Text-guided segmentation inside stock nnU-Net v2."
    )
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(dest="command", metavar="<subcommand>", required=True)
    chosen = next((word for word in words if word in SUBCOMMANDS), None)
    for name, summary in SUBCOMMANDS.items():
        subparser = subparsers.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if name == chosen:
            command = importlib.import_module(f"nnunetv2_textguided.commands.{name.replace('-', '_')}")
            command.add_arguments(subparser)
            # Some options are the model's own: known only where the command line says which model.
            getattr(command, "add_model_arguments", lambda *_: None)(subparser, words)
    try:
        args = parser.parse_args(words)
        return int(command.run(args))
    except TextGuidedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
