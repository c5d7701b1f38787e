"""What is found in one case: candidates, likelihood, detection map, pictures. Everything on the image's own grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.inference import cases as places
from nnunetv2_textguided.inference.cases import Case
from nnunetv2_textguided.inference.lesions import detection_map, measure_candidates
from nnunetv2_textguided.inference.options import OutputOptions
from nnunetv2_textguided.inference.overlays import Scene, draw
from nnunetv2_textguided.inference.viewer.case import Layer, write_case
from nnunetv2_textguided.inference.zones import NAMES, read_zones


@dataclass(frozen=True)
class Evidence:
    """What speaks for lesions in one case.

    Attributes:
        probability: probability of the lesion.
        mask: (z, y, x) bool, the predicted mask of the lesion.
        heatmap: text-image similarity, if there is one.
    """

    probability: sitk.Image
    mask: np.ndarray
    heatmap: sitk.Image | None


def read_mask(path: Path, values: int | list[int]) -> np.ndarray:
    """Where a written mask has one of a label's values: (z, y, x) bool."""
    return np.isin(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), values)


def write_findings(
    folder: Path, case: Case, evidence: Evidence, label: str, channels: tuple[str, ...], output: OutputOptions
) -> dict[str, Any]:
    """Find and measure candidates, write the detection map and, if asked for, pictures.

    Args:
        folder: where to write.
        case: the case.
        evidence: its maps.
        label: the label of the candidates.
        channels: names of the image channels.
        output: what to write.

    Returns:
        The findings as JSON values.
    """
    if evidence.probability.GetDimension() != 3:
        raise DataError("Candidates are measured in 3D images.", where=case.name, remedy="Use --candidates none.")
    probability = sitk.GetArrayFromImage(evidence.probability)
    heatmap = None if evidence.heatmap is None else sitk.GetArrayFromImage(evidence.heatmap)
    detection = detection_map(probability, evidence.mask, output.candidates)
    image = sitk.GetImageFromArray(detection)
    image.CopyInformation(evidence.probability)
    sitk.WriteImage(image, str(folder / places.DETECTIONS / f"{case.name}_detection_map.nii.gz"), True)
    zones = None if output.zones is None else read_zones(output.zones, case.name, image)
    found, numbers = measure_candidates(detection, probability, heatmap, zones, image, NAMES)
    if output.overlays or output.viewer:
        scene = Scene(_channels(case, channels), numbers, probability, heatmap, image.GetSpacing()[::-1])
        if output.overlays:
            draw(scene, found, case.name, folder / places.OVERLAYS / f"{case.name}.png")
        if output.viewer:
            layers = _layers(scene, evidence.mask)
            write_case(folder / places.VIEWER / f"{case.name}.js", case.name, layers, found, image)
    return {
        "label": label,
        "case_likelihood": max((c.confidence for c in found), default=0.0),
        "candidates": [c.as_json() for c in found],
    }


def _channels(case: Case, names: tuple[str, ...]) -> list[tuple[str, np.ndarray]]:
    """Name and values (z, y, x) of each image file."""
    names = (*names, *(f"channel {i}" for i in range(len(names), len(case.files))))
    scans = [sitk.ReadImage(str(file), sitk.sitkFloat32) for file in case.files]
    return [(name, sitk.GetArrayFromImage(scan)) for name, scan in zip(names, scans, strict=False)]


def _layers(scene: Scene, mask: np.ndarray) -> list[Layer]:
    layers = [Layer(name, "channel", values) for name, values in scene.channels]
    if scene.heatmap is not None:
        layers.append(Layer("heatmap", "heatmap", scene.heatmap))
    return [*layers, Layer("mask", "mask", mask)]
