"""A tiny trained model folder, made in seconds: plans written by hand, a network that has learned bright balls."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from torch.nn import functional as F

from nnunetv2_textguided.network.from_plans import build_from_architecture
from nnunetv2_textguided.settings.presets import resolve
from nnunetv2_textguided.training.plans import describe_training
from tests.networks import architecture

PATCH = (8, 32, 32)
SPACING = (3.0, 1.0, 1.0)
REFINER = {"band": 1e9, "max_fraction": 0.1, "prediction_fraction": 0.1}
RESAMPLING = "resample_data_or_seg_to_shape"


def plans(
    *,
    reader: str = "SimpleITKIO",
    transpose: Sequence[int] = (0, 1, 2),
    spacing: Sequence[float] = SPACING,
    family: str = "plain",
    patch: Sequence[int] = PATCH,
    normalisation: str = "NoNormalization",
    features: Sequence[int] = (6, 12),
) -> dict[str, Any]:
    """Plans of the configuration 3d_fullres; patch and spacing in the order of the transposed axes."""
    percentiles = {"percentile_00_5": -1.0, "percentile_99_5": 3.0}
    intensity = {"max": 3.0, "mean": 1.0, "median": 1.0, "min": -2.0, "std": 1.0, **percentiles}
    order = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    configuration = {
        "data_identifier": "tiny",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [patch[axis] for axis in transpose],
        "median_image_size_in_voxels": list(patch),
        "spacing": [spacing[axis] for axis in transpose],
        "normalization_schemes": [normalisation] * 3,
        "use_mask_for_norm": [False] * 3,
        **{f"resampling_fn_{kind}": RESAMPLING for kind in ("data", "seg", "probabilities")},
        **{f"resampling_fn_{kind}_kwargs": order for kind in ("data", "probabilities")},
        "resampling_fn_seg_kwargs": {**order, "is_seg": True},
        "architecture": architecture(family, features=features),
        "batch_dice": False,
        "text_guidance": {"refiner": REFINER},
    }
    return {
        "dataset_name": "Dataset902_Tiny",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": configuration["spacing"],
        "original_median_shape_after_transp": configuration["patch_size"],
        "image_reader_writer": reader,
        "transpose_forward": list(transpose),
        "transpose_backward": np.argsort(transpose).tolist(),
        "configurations": {"3d_fullres": configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {str(i): intensity for i in range(3)},
    }


def dataset_json(labels: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "channel_names": {"0": "T2W", "1": "ADC", "2": "HBV"},
        "labels": {"background": 0, **labels},
        "numTraining": 5,
        "file_ending": ".nii.gz",
    }


def ball(shape: Sequence[int], centre: Sequence[float], radius: float, spacing: Sequence[float]) -> np.ndarray:
    """Bool (z, y, x): a ball in mm around a voxel."""
    axes = np.meshgrid(*map(np.arange, shape), indexing="ij", sparse=True)
    distance = sum(((a - c) * s) ** 2 for a, c, s in zip(axes, centre, spacing, strict=True))
    return np.asarray(distance <= radius**2)


def scene(rng: np.random.Generator, shape: Sequence[int] = PATCH, balls: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Channels (3, z, y, x) and mask: bright balls in a half that is dark and a half that is less so."""
    mask = np.zeros(shape, bool)
    for _ in range(balls):
        mask |= ball(shape, [rng.uniform(0.25 * n, 0.75 * n) for n in shape], rng.uniform(4, 7), SPACING)
    tissue = np.arange(shape[2]) > shape[2] / 2  # without it, instance normalisation would make noise look like balls
    return rng.normal(0, 0.2, (3, *shape)) + tissue + 2.5 * mask, mask


@dataclass(frozen=True)
class Model:
    """A trained model folder and its plans."""

    folder: Path
    plans: dict[str, Any]


def make_model(
    folder: Path,
    *,
    labels: Mapping[str, Any] | None = None,
    folds: int = 2,
    steps: int = 0,
    trainer: str = "nnUNetTrainerAlignRefine",
    fixed: Mapping[str, Any] | None = None,
    region_order: Sequence[int] | None = None,
    mirror_axes: Sequence[int] = (0, 1, 2),
    dataset_folder: Path | None = None,
    **choices: Any,
) -> Model:
    """Write a model folder as nnU-Net's training leaves it; `steps` of learning to see bright balls.

    `dataset_folder` may hold an embedding file. Parts that read the text of a case act, but have learned nothing.
    """
    description = dataset_json(labels or {"csPCa": 1})
    if region_order is not None:
        description["regions_class_order"] = list(region_order)
    described, _, text = describe_training(plans(**choices), "3d_fullres", description, fixed or {}, dataset_folder)
    configuration = described["configurations"]["3d_fullres"]
    regions = any(isinstance(value, list) for value in description["labels"].values())
    heads = len(description["labels"]) - regions
    folder.mkdir(parents=True)
    for fold in range(folds):
        torch.manual_seed(fold)
        block = configuration["text_guidance"]
        net: Any = build_from_architecture(configuration["architecture"], resolve(block), 3, heads, False)
        if text is not None:
            net.set_text(text.pooled, text.tokens)
        if net.refiner is not None:
            net.refiner.alpha.fill_(1)
            torch.nn.init.normal_(net.refiner.head.weight, std=0.5)
        _learn(net, fold, steps)
        _listen(net)
        (folder / f"fold_{fold}").mkdir()
        checkpoint = {
            "network_weights": net.state_dict(),
            "trainer_name": trainer,
            "init_args": {"plans": described, "configuration": "3d_fullres", "fold": fold, "dataset_json": description},
            "inference_allowed_mirroring_axes": tuple(mirror_axes),
        }
        torch.save(checkpoint, folder / f"fold_{fold}" / "checkpoint_final.pth")
    (folder / "plans.json").write_text(json.dumps(described))
    (folder / "dataset.json").write_text(json.dumps(description))
    return Model(folder, described)


def _learn(net: Any, seed: int, steps: int) -> None:
    """Segmentation and heatmap by cross-entropy; the class 1 only."""
    rng, optimiser = np.random.default_rng(seed), torch.optim.Adam(net.parameters(), 1e-2)
    for step in range(steps):
        image, mask = scene(rng, balls=step % 2)
        x, y = torch.from_numpy(image)[None].float(), torch.from_numpy(mask)[None]
        logits, similarity = net(x, return_similarity=True)
        target = F.adaptive_avg_pool3d(y[:, None].float(), similarity.shape[2:])
        weight = 1 + 10 * target
        loss = F.cross_entropy(logits, y.long(), torch.tensor([1.0, 5.0]))
        loss = loss + F.binary_cross_entropy_with_logits(similarity, target, weight)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def _listen(net: Any) -> None:
    """Weights that are zero until they are trained."""
    torch.manual_seed(5)
    if net.grounding is not None and net.grounding.meaning is not None:
        torch.nn.init.normal_(net.grounding.meaning.weight, std=0.2)
    if net.clinical is not None:
        torch.nn.init.normal_(net.clinical.film.weight, std=0.05)


def write_case(
    folder: Path,
    name: str,
    image: np.ndarray,
    like: sitk.Image | None = None,
    spacing: Sequence[float] = SPACING,
) -> list[Path]:
    """Write channels (3, z, y, x) as nnU-Net image files, with the geometry of `like`, or a voxel size (z, y, x)."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for channel, values in enumerate(image):
        scan = sitk.GetImageFromArray(values.astype(np.float32))
        if like is None:
            scan.SetSpacing([float(side) for side in reversed(spacing)])
        else:
            scan.CopyInformation(like)
        files.append(folder / f"{name}_{channel:04d}.nii.gz")
        sitk.WriteImage(scan, str(files[-1]), True)
    return files
