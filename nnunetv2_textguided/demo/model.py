"""The demo's networks: the trained one, asked what its text did, and its untrained twin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnunetv2_textguided.demo.workspace import CONFIGURATION, FOLD
from nnunetv2_textguided.errors import DataError, NetworkError
from nnunetv2_textguided.files import read_json
from nnunetv2_textguided.network import AlignRefineUNet
from nnunetv2_textguided.network.from_plans import build_from_architecture
from nnunetv2_textguided.nnunet.checkpoints import read_checkpoint
from nnunetv2_textguided.nnunet.plans import ConfigurationManager, PlansManager, image_channels
from nnunetv2_textguided.settings import BLOCK
from nnunetv2_textguided.settings.presets import resolve


@dataclass(frozen=True)
class TextEffect:
    """What the text did to one case. All arrays (Z, Y, X)."""

    heatmap: NDArray[np.float32]
    """Similarity of each voxel with the label's prompts, in (0, 1)."""
    gate: NDArray[np.bool_]
    """Voxels that the refiner was allowed to change."""
    change: NDArray[np.float32]
    """What the refiner added to the log-odds of the label."""
    before: NDArray[np.bool_]
    """The label's mask without the refiner."""
    after: NDArray[np.bool_]
    """The label's mask with the refiner."""


@dataclass(frozen=True)
class Model:
    """A network and what is needed to feed it."""

    network: AlignRefineUNet
    plans: PlansManager
    configuration: ConfigurationManager
    dataset: dict[str, Any]


def load_model(folder: Path) -> Model:
    """The final checkpoint of a trained model folder, on the CPU, ready to predict.

    Raises:
        NetworkError: the checkpoint does not fit the folder's plans.
    """
    dataset = read_json(folder / "dataset.json", error=DataError)
    plans = PlansManager(str(folder / "plans.json"))
    configuration = plans.get_configuration(CONFIGURATION)
    network = _build(plans, configuration, dataset)
    path = folder / f"fold_{FOLD}" / "checkpoint_final.pth"
    weights = read_checkpoint(path)["network_weights"]
    try:
        network.load_state_dict(weights)
    except RuntimeError as e:
        raise NetworkError(f"The checkpoint does not fit the plans beside it: {e}", where=path) from e
    return Model(network.eval(), plans, configuration, dataset)


def untrained_twin(model: Model, seed: int) -> Model:
    """The same network with every learned weight drawn anew; text and thresholds, which were given, stay."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _build(model.plans, model.configuration, model.dataset)
    network.load_state_dict(dict(model.network.named_buffers()), strict=False)
    return Model(network.eval(), model.plans, model.configuration, model.dataset)


def _build(plans: PlansManager, configuration: ConfigurationManager, dataset: dict[str, Any]) -> AlignRefineUNet:
    block = configuration.configuration
    network = build_from_architecture(
        block["architecture"],
        resolve(block[BLOCK]),
        image_channels(plans, configuration, dataset),
        plans.get_label_manager(dataset).num_segmentation_heads,
        deep_supervision=False,
    )
    assert isinstance(network, AlignRefineUNet)  # for the type checker: the builder's return type is nn.Module
    return network


def explain_case(model: Model, images: Sequence[Path], label: int) -> TextEffect:
    """Run one case through the network, whole and unmirrored, and keep what the text did.

    Args:
        model: a network with text.
        images: one file per channel.
        label: value of the label to explain, counted as in dataset.json; labels must be consecutive.

    Raises:
        DataError: preprocessing changes the case's grid, or the case is not as large as a patch.
    """
    preprocessor = model.configuration.preprocessor_class(verbose=False)
    data, _, properties = preprocessor.run_case(
        [str(path) for path in images], None, model.plans, model.configuration, model.dataset
    )
    if tuple(data.shape[1:]) != tuple(properties["shape_before_cropping"]):
        raise DataError("Preprocessing changed the grid of a phantom, so nothing can be drawn on it.", where=images[0])
    if tuple(data.shape[1:]) != tuple(model.configuration.patch_size):
        raise DataError("A phantom is as large as a patch, but this case is not.", where=images[0])
    found = model.network.explain(torch.as_tensor(data, dtype=torch.float32)[None])
    final = found.logits[0]
    base = final - found.change[0]
    return TextEffect(
        found.heatmap[0, label - 1].numpy(),
        found.gate[0, 0].numpy(),
        (_log_odds(final, label) - _log_odds(base, label)).numpy(),
        (base.argmax(0) == label).numpy(),
        (final.argmax(0) == label).numpy(),
    )


def _log_odds(logits: Tensor, label: int) -> Tensor:
    """log p / (1 - p) of one class of (O, Z, Y, X) softmax logits."""
    others = [i for i in range(logits.shape[0]) if i != label]
    return logits[label] - torch.logsumexp(logits[others], 0)
