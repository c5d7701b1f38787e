"""`nnUNetv2_textguided convert-weights`: stock weights as the start of a text-guided training."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunetv2_textguided.errors import NetworkError

if TYPE_CHECKING:
    from nnunetv2_textguided.network import AlignRefineUNet
    from nnunetv2_textguided.planning.convert import Conversion

DEFAULT_TRAINER = "nnUNetTrainerAlignRefine"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    parser.add_argument("checkpoint", type=Path, help="checkpoint of stock nnU-Net, or of nnssl's pre-training")
    parser.add_argument("-d", dest="dataset", required=True, metavar="DATASET", help="data set to train on, id or name")
    parser.add_argument("-c", dest="configuration", required=True, metavar="CONFIGURATION", help="e.g. 3d_fullres")
    parser.add_argument("-p", dest="plans", required=True, metavar="PLANS", help="plans to train with")
    parser.add_argument("-o", dest="output", type=Path, required=True, metavar="OUT.pth", help="the file to write")
    parser.add_argument("-tr", dest="trainer", default=DEFAULT_TRAINER, help=f"trainer (default {DEFAULT_TRAINER})")
    parser.add_argument("--list", action="store_true", help="list every tensor instead of groups")


def run(args: argparse.Namespace) -> int:
    """Convert and say what became of every tensor; returns the exit status."""
    import torch

    from nnunetv2_textguided.files import atomic_path
    from nnunetv2_textguided.planning.checkpoint import read_checkpoint
    from nnunetv2_textguided.planning.convert import convert_weights

    network, architecture, channels = _network_to_train(args)
    checkpoint = read_checkpoint(args.checkpoint, architecture, channels)
    conversion = convert_weights(network, checkpoint)
    origin = {"checkpoint": args.checkpoint.name, "plans": args.plans, "configuration": args.configuration}
    with atomic_path(args.output) as temporary:
        torch.save({"network_weights": conversion.weights, "converted_from": origin}, temporary)
    print(f"From {checkpoint.description}:")
    print("\n".join(_describe(conversion, args.list)))
    print(f"Written to {args.output}. Train with:")
    print(
        f"nnUNetv2_train {args.dataset} {args.configuration} FOLD -p {args.plans} -tr {args.trainer} "
        f"-pretrained_weights {args.output}"
    )
    return 0


def _network_to_train(args: argparse.Namespace) -> tuple[AlignRefineUNet, dict[str, Any], int]:
    """The network as the trainer builds it, the stock architecture behind it, and the number of image channels."""
    from nnunetv2_textguided.files import read_json
    from nnunetv2_textguided.nnunet.datasets import dataset_name
    from nnunetv2_textguided.nnunet.folders import PREPROCESSED, required_path
    from nnunetv2_textguided.nnunet.plans import PlansManager, image_channels, read_plans
    from nnunetv2_textguided.planning.topology import stock_architecture
    from nnunetv2_textguided.training.plans import describe_training

    trainer = _trainer(args.trainer)
    folder = required_path(PREPROCESSED) / dataset_name(args.dataset, PREPROCESSED)
    plans = read_plans(folder / f"{args.plans}.json")
    if args.configuration not in plans["configurations"]:
        raise NetworkError(
            f"The plans have no configuration {args.configuration!r}.",
            where=folder / f"{args.plans}.json",
            remedy=f"Choose one of {', '.join(plans['configurations'])}.",
        )
    dataset_json = read_json(folder / "dataset.json", error=NetworkError)
    described, settings, text = describe_training(plans, args.configuration, dataset_json, trainer.fixed, folder)
    manager = PlansManager(described)
    configuration = manager.get_configuration(args.configuration)
    channels = image_channels(manager, configuration, dataset_json)
    heads = manager.get_label_manager(dataset_json).num_segmentation_heads
    network = trainer.build_network_architecture(manager, configuration, channels, heads, True)
    if text is not None and settings.text.control != "learned":
        network.set_text(text.pooled, text.tokens)
    return network, stock_architecture(configuration.configuration["architecture"]), channels


def _trainer(name: str) -> Any:
    from nnunetv2_textguided import training

    if name not in training.__all__:
        raise NetworkError(
            f"{name!r} is no trainer of this package.", where="-tr", remedy=f"Use one of {', '.join(training.__all__)}."
        )
    return getattr(training, name)


def _describe(conversion: Conversion, everything: bool) -> Iterator[str]:
    """Lines that say what became of every tensor."""
    if everything:
        yield from (f"  mapped       {key} <- {source}" for key, source in conversion.mapped.items())
        yield from (f"  averaging    {key}" for key in conversion.averaging)
        yield from (f"  initialised  {key}" for key in conversion.initialised)
        yield from (f"  ignored      {key} ({reason})" for key, reason in conversion.ignored.items())
        return
    for verb, keys in (
        ("mapped", [f"{key} <- {source}" for key, source in _groups(conversion.mapped).items()]),
        ("averaging", _groups(dict.fromkeys(conversion.averaging, ""))),
        ("initialised", _groups(dict.fromkeys(conversion.initialised, ""))),
        ("ignored", [f"{key} ({reason})" for key, reason in _groups(conversion.ignored).items()]),
    ):
        yield from (f"  {verb:<12} {key}" for key in keys)


def _groups(tensors: Mapping[str, str]) -> dict[str, str]:
    """Tensors and what they come from, one entry for all of a part of the network."""
    return {_part(key): _part(value) for key, value in tensors.items()}


def _part(key: str) -> str:
    """The part of the network that a tensor belongs to."""
    words = key.split(".")
    depth = 4 if words[1:2] == ["branches"] else 3 if words[:2] == ["decoder", "encoder"] else 2
    return ".".join(words[:depth])
