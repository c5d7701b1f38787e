"""Facts of models before they are trained: nnU-Net's own trainers are asked, on fake tensors, without a GPU."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from nnunetv2_textguided.benchmark.facts import ModelFacts
from nnunetv2_textguided.benchmark.study import Study, Variant
from nnunetv2_textguided.errors import DataError, TextGuidedError
from nnunetv2_textguided.nnunet.folders import PREPROCESSED, RESULTS, required_path, variables
from nnunetv2_textguided.nnunet.plans import image_channels
from nnunetv2_textguided.nnunet.trainers import make_trainer
from nnunetv2_textguided.settings import BLOCK

WANDB = "nnUNet_wandb_enabled"


def describe_study(study: Study) -> dict[Variant, ModelFacts]:
    """The facts of every variant. Where the data set has no folds yet, nnU-Net makes them, before trainings race to.

    Raises:
        DataError: a trainer cannot be used with these plans, or here.
    """
    return {variant: _describe(variant, study) for variant in study.variants}


def _describe(variant: Variant, study: Study) -> ModelFacts:
    folder = required_path(PREPROCESSED) / study.dataset
    with _elsewhere():
        trainer = _trainer(variant, study)
        if not (folder / "splits_final.json").is_file():
            trainer.do_split()
    configuration = trainer.configuration_manager.configuration
    parameters, flops, not_counted = _count(trainer)
    return ModelFacts(
        epochs=int(trainer.num_epochs),
        iterations_per_epoch=int(trainer.num_iterations_per_epoch),
        val_iterations_per_epoch=int(trainer.num_val_iterations_per_epoch),
        batch_size=int(trainer.configuration_manager.batch_size),
        patch_size=tuple(int(n) for n in trainer.configuration_manager.patch_size),
        parameters=parameters,
        flops_per_patch=flops,
        not_counted=not_counted,
        plans_sha256=hashlib.sha256((folder / f"{variant.plans}.json").read_bytes()).hexdigest(),
        configuration_sha256=_hash(configuration),
        splits_sha256=_hash(json.loads((folder / "splits_final.json").read_text(encoding="utf-8"))),
        embeddings=_embeddings(configuration),
    )


def _trainer(variant: Variant, study: Study) -> Any:
    try:
        return make_trainer(
            study.dataset,
            variant.configuration,
            study.folds[0],
            variant.trainer,
            variant.plans,
            torch.device("cpu"),
        )
    except TextGuidedError:
        raise
    except Exception as error:  # any trainer's own code: what it raises is for the user to read
        raise DataError(
            f"The trainer cannot be used with these plans: {type(error).__name__}: {error}", where=variant.name
        ) from error


@contextlib.contextmanager
def _elsewhere() -> Iterator[None]:
    """nnU-Net's trainers make their folder, log and online run when they are built: not where anybody looks."""
    quiet = contextlib.redirect_stdout(io.StringIO())
    with tempfile.TemporaryDirectory() as folder, quiet, variables({RESULTS: folder, WANDB: "0"}):
        yield


def _count(trainer: Any) -> tuple[int | None, float | None, str | None]:
    """Parameters, operations of one patch's forward pass, and why they could not be counted."""
    manager, dataset_json = trainer.configuration_manager, trainer.dataset_json
    channels = image_channels(trainer.plans_manager, manager, dataset_json)
    heads = trainer.label_manager.num_segmentation_heads
    parameters = None
    try:
        with FakeTensorMode(), contextlib.redirect_stdout(io.StringIO()):
            network = trainer.build_network_architecture(
                trainer.plans_manager, manager, channels, heads, trainer.enable_deep_supervision
            )
            parameters = sum(parameter.numel() for parameter in network.parameters())
            data = torch.zeros(1, channels, *(int(n) for n in manager.patch_size))
            with torch.no_grad(), FlopCounterMode(display=False) as counter:
                network(data)
    except Exception as error:  # a network of the trainer's own that does more than fake tensors can: only not counted
        return parameters, None, f"{type(error).__name__}: {error}"[:300]
    return parameters, float(counter.get_total_flops()), None


def _embeddings(configuration: Mapping[str, Any]) -> dict[str, Any] | None:
    text = (configuration.get(BLOCK) or {}).get("text") or {}
    resolved = text.get("resolved")
    if resolved is None:
        return None
    kept = {key: resolved[key] for key in ("source", "file_sha256", "prompts_sha256", "encoder")}
    return {**kept, "control": text["control"], "prompts": len(resolved["prompts"])}


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
