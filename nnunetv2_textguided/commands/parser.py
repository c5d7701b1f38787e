"""The command line's parser: a table of lazily imported subcommands, and the help that all of them share."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterable, Iterator, Sequence

from nnunetv2_textguided import __version__
from nnunetv2_textguided.commands.examples import epilog

PROGRAM = "nnUNetv2_textguided"

# Subcommand -> what it does. Its module, commands/<subcommand>.py, has add_arguments(parser) and run(args) -> exit
# status. Modules are imported only when used: `--help` has to answer before torch could be imported.
SUBCOMMANDS = {
    "anatomy": "preprocess anatomical label maps, which supervise the text without being segmented",
    "benchmark": "cross-validate several trainers: train what is missing, compare with honest statistics",
    "completion": "print a script that completes this command in bash, zsh or tcsh",
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
    "pseudo-label": "label patients who have a report and no outline with what a model finds and the report confirms",
    "prompts": "show, check and compare the prompts of a data set, plans, file or model",
    "sentence-prior": "fit what the radiologist's sentence is worth beside the image, on its own validation cases",
    "threshold": "fit where a model's probabilities are cut, on its own validation, with a price of false volume",
    "demo": "train, predict and explain on a small synthetic data set, and write a report",
    "env": "print the line that makes nnU-Net find the trainers where the start-up file is disabled",
    "picai": "PI-CAI: prepare the archive for nnU-Net, check a data set, evaluate predictions, run the whole table",
}


class Help(argparse.RawDescriptionHelpFormatter):
    """Help that states every default, and leaves the examples' lines as they are."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help or ""
        valued = bool(action.option_strings) and action.nargs != 0 and not action.required
        stated = "default" in text.casefold() or action.default in (None, argparse.SUPPRESS)
        return text if stated or not valued else f"{text} (default: %(default)s)".lstrip()


def build_parser(loaded: Iterable[str], words: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The command line's parser.

    Args:
        loaded: subcommands whose modules are imported for their options; the others have a line in the help.
        words: the command line: some options are the model's own, known only where it says which model.
    """
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description="Text-guided segmentation inside stock nnU-Net v2.", formatter_class=Help
    )
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(dest="command", metavar="<subcommand>", required=True)
    for name, summary in SUBCOMMANDS.items():
        subparser = subparsers.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if name in loaded:
            command = importlib.import_module(f"nnunetv2_textguided.commands.{name.replace('-', '_')}")
            command.add_arguments(subparser)
            getattr(command, "add_model_arguments", lambda *_: None)(subparser, words)
            for full, inner in commands(name, subparser):
                inner.formatter_class, inner.epilog = Help, epilog(full, PROGRAM)
    return parser


def commands(name: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """A command's parser and those of its actions, by their words."""
    yield name, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, inner in action.choices.items():
                yield from commands(f"{name} {word}", inner)
