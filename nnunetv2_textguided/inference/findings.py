"""What is found in one case: candidates, likelihood, detection map, pictures. Everything on the image's own grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.inference import cases as places
from nnunetv2_textguided.inference.cases import Case
from nnunetv2_textguided.inference.gland import near_gland
from nnunetv2_textguided.inference.lesions import Candidate, detection_map, measure_candidates, without_outside
from nnunetv2_textguided.inference.options import OutputOptions
from nnunetv2_textguided.inference.overlays import Scene, draw
from nnunetv2_textguided.inference.reading import load_images
from nnunetv2_textguided.inference.text_effect import LessText, TextEffect, text_effect
from nnunetv2_textguided.inference.viewer.case import Layer, write_case
from nnunetv2_textguided.inference.zones import NAMES, read_zones


@dataclass(frozen=True)
class CaseMaps:
    """What speaks for lesions in one case.

    Attributes:
        probability: probability of the lesion.
        mask: (z, y, x) bool, the predicted mask of the lesion.
        heatmap: text-image similarity, if there is one.
        gland: (z, y, x) bool, the predicted gland, if the model segments it.
        text: what the network finds with less text, if it was told any.
    """

    probability: sitk.Image
    mask: np.ndarray
    heatmap: sitk.Image | None
    gland: np.ndarray | None = None
    text: LessText | None = None


def read_mask(path: Path, values: int | list[int]) -> np.ndarray:
    """Where a written mask has one of a label's values: (z, y, x) bool."""
    return np.isin(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), values)


def write_findings(
    folder: Path,
    case: Case,
    maps: CaseMaps,
    label: str,
    channels: tuple[str, ...],
    output: OutputOptions,
    notes: Mapping[str, Any],
) -> dict[str, Any]:
    """Find and measure candidates, write the detection map and, if asked for, pictures.

    Args:
        folder: where to write.
        case: the case.
        maps: its maps.
        label: the label of the candidates.
        channels: names of the image channels.
        output: what to write.
        notes: what is known of the case beside its maps: its remarks are added to, and the viewer shows them.

    Returns:
        The findings as JSON values.
    """
    found = _find(case.name, maps, output)
    _write_maps(folder, case.name, maps, found, output.lesion_maps)
    findings = found.as_json(label, notes.get("remarks", ()))
    if output.overlays or output.viewer:
        heatmap, spacing = found.heatmap, found.image.GetSpacing()[::-1]
        scene = Scene(_channels(case, channels), found.numbers, found.probability, heatmap, spacing, found.gland)
        if output.overlays:
            draw(scene, found.candidates, case.name, folder / places.OVERLAYS / f"{case.name}.png")
        if output.viewer:
            file, layers = folder / places.VIEWER / f"{case.name}.js", _layers(scene, maps)
            shown = _shown(findings, notes, label)
            write_case(file, case.name, layers, found.candidates, found.image, shown)
    return findings


@dataclass(frozen=True)
class _Found:
    """Candidates, the image of their detection map, what was measured of them, (z, y, x), and what is said of them."""

    candidates: list[Candidate]
    image: sitk.Image
    numbers: np.ndarray
    probability: np.ndarray
    heatmap: np.ndarray | None
    gland: np.ndarray | None
    effect: TextEffect | None
    remarks: list[str]

    def as_json(self, label: str, remarks: Sequence[str]) -> dict[str, Any]:
        """The findings as JSON values; `remarks` are those known before."""
        findings = {
            "label": label,
            "case_likelihood": max((c.confidence for c in self.candidates), default=0.0),
            "candidates": [c.as_json() for c in self.candidates],
            "remarks": [*remarks, *self.remarks],
        }
        return findings if self.effect is None else {**findings, "text": self.effect.record}


def _find(name: str, maps: CaseMaps, output: OutputOptions) -> _Found:
    """Find and measure the candidates."""
    if maps.probability.GetDimension() != 3:
        raise DataError("Candidates are measured in 3D images.", where=name, remedy="Use --candidates none.")
    heatmap = None if maps.heatmap is None else sitk.GetArrayFromImage(maps.heatmap)
    probability = sitk.GetArrayFromImage(maps.probability)
    zones = None if output.zones is None else read_zones(output.zones, name, maps.probability)
    gland = maps.gland if zones is None else zones > 0
    near, remarks = _near(gland, maps.probability)

    def detect(chances: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, int]:
        found = detection_map(chances, mask, output.candidates)
        return (found, 0) if near is None or output.outside_gland != "drop" else without_outside(found, near)

    detection, dropped = detect(probability, maps.mask)
    remarks += [f"candidates outside the gland that were dropped: {dropped}"] if dropped else []
    image = sitk.GetImageFromArray(detection)
    image.CopyInformation(maps.probability)
    found, numbers = measure_candidates(detection, probability, heatmap, zones, image, NAMES, near)
    effect = None
    if maps.text is not None:
        voxel_ml = float(np.prod(image.GetSpacing())) / 1000
        effect = text_effect(maps.text, detection, maps.mask, numbers, detect, voxel_ml)
        found = [replace(c, from_text=c.candidate in effect.from_text) for c in found]
        remarks += effect.remarks
    outside = [c.candidate for c in found if c.outside_gland]
    remarks += [f"candidates outside the gland: {', '.join(map(str, outside))}"] if outside else []
    return _Found(found, image, numbers, probability, heatmap, gland, effect, remarks)


def _write_maps(folder: Path, name: str, maps: CaseMaps, found: _Found, lesion_maps: bool) -> None:
    """Write the detection map and, if asked for, the probability and the numbered candidates."""
    sitk.WriteImage(found.image, str(folder / places.DETECTIONS / f"{name}_detection_map.nii.gz"), True)
    if lesion_maps:
        numbered = sitk.GetImageFromArray(found.numbers.astype(np.uint8))
        numbered.CopyInformation(maps.probability)
        sitk.WriteImage(maps.probability, str(folder / places.PROBABILITIES / f"{name}.nii.gz"), True)
        sitk.WriteImage(numbered, str(folder / places.LESIONS / f"{name}.nii.gz"), True)


def _shown(findings: Mapping[str, Any], notes: Mapping[str, Any], label: str) -> dict[str, Any]:
    """What the viewer says beside the images."""
    shown = {
        "remarks": findings["remarks"],
        "unlike_training": notes.get("unlike_training", "unknown"),
        "threshold": notes.get("thresholds", {}).get(label),
        "fitted_threshold": notes.get("fitted_threshold"),
        "refiner_edits": notes.get("refiner_edits", {}).get(label),
    }
    return shown | ({"text": findings["text"]} if "text" in findings else {})


def _near(gland: np.ndarray | None, image: sitk.Image) -> tuple[np.ndarray | None, list[str]]:
    """The gland with its margin, and remarks; the gland is by the given zone masks, else by the model's own."""
    if gland is None:
        return None, []
    if not gland.any():
        return None, ["no gland was found in this image"]
    return near_gland(gland, image.GetSpacing()[::-1]), []


def _channels(case: Case, names: tuple[str, ...]) -> list[tuple[str, np.ndarray]]:
    """Name and values (z, y, x) of each channel that the case has."""
    names = (*names, *(f"channel {i}" for i in range(len(names), len(case.channels))))
    return [
        (name, sitk.GetArrayFromImage(scan))
        for index, (name, scan) in enumerate(zip(names, load_images(case), strict=False))
        if index not in case.missing
    ]


def _layers(scene: Scene, maps: CaseMaps) -> list[Layer]:
    layers = [Layer(name, "channel", values) for name, values in scene.channels]
    if scene.heatmap is not None:
        layers.append(Layer("heatmap", "heatmap", scene.heatmap))
    text = maps.text
    if text is not None:
        layers += [Layer(f"sentence {number}", "sentence", values) for number, values in enumerate(text.maps, start=1)]
        layers.append(Layer("without text", "without", text.less[0].mask))
    return [*layers, Layer("probability", "probability", scene.probability), Layer("mask", "mask", maps.mask)]
