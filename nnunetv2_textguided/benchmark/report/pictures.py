"""Which cases are shown as pictures, and one slice of each with the outlines of reference and predictions."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunetv2_textguided.benchmark.report.analysis import Analysis
from nnunetv2_textguided.evaluation.classes import choose_targets
from nnunetv2_textguided.evaluation.postprocess import postprocess
from nnunetv2_textguided.evaluation.predictions import read_prediction
from nnunetv2_textguided.imaging.crop import Box, square_around
from nnunetv2_textguided.imaging.images import read_image, read_mask
from nnunetv2_textguided.nnunet.variant import Variant
from nnunetv2_textguided.pages.render import data_uri

FIELD_MM = 64.0  # edge of what is shown, more if the outlines need it
PIXELS = 300  # edge of a picture


@dataclass(frozen=True)
class Picture:
    """One channel of a slice."""

    channel: str
    uri: str


@dataclass(frozen=True)
class CasePictures:
    """One case.

    Attributes:
        case: its identifier.
        why: why it is shown.
        values: variant -> primary metric, as text.
        pictures: one per channel; none where the images are not there.
        reference: outline as the path of an SVG of 100 x 100 units.
        outlines: variant -> path.
        slice: its number, from 1; and how many there are.
    """

    case: str
    why: str
    values: dict[Variant, str]
    pictures: tuple[Picture, ...]
    reference: str
    outlines: dict[Variant, str]
    slice: tuple[int, int]


def choose_cases(analysis: Analysis) -> list[tuple[str, str]]:
    """(case, why): the headline variant's worst cases, then its largest losses and gains against the baseline."""
    metric, headline, names = analysis.primary, analysis.headline, analysis.names
    values = analysis.results.overlap[metric.name]
    number = analysis.options.pictures
    chosen: dict[str, str] = {}

    def add(key: np.ndarray, why: str) -> None:
        """The cases with the lowest key that are not shown already."""
        order = [int(i) for i in np.argsort(key, kind="stable") if math.isfinite(key[i])]
        cases = [analysis.results.cases[i] for i in order if analysis.results.cases[i] not in chosen]
        chosen.update(dict.fromkeys(cases[:number], why))

    quality = values[headline] if metric.higher_is_better else -values[headline]
    add(quality, f"worst of {names[headline]}")
    if headline != analysis.baseline:
        other = values[analysis.baseline] if metric.higher_is_better else -values[analysis.baseline]
        gain = quality - other
        add(np.where(gain < 0, gain, np.nan), f"largest loss against {names[analysis.baseline]}")
        add(np.where(gain > 0, -gain, np.nan), f"largest gain over {names[analysis.baseline]}")
    return list(chosen.items())


def draw_cases(analysis: Analysis) -> Iterator[CasePictures]:
    """The pictures of all chosen cases."""
    for case, why in choose_cases(analysis):
        yield _draw(analysis, case, why)


def _draw(analysis: Analysis, case: str, why: str) -> CasePictures:
    collected = analysis.collected
    labels = collected.dataset_json.get("labels") or {}
    target = choose_targets(labels, analysis.options.label, "dataset.json")
    values = sorted({v for t in target for v in t.values})
    label = read_mask(collected.labels[case])
    reference = np.isin(sitk.GetArrayFromImage(label), values)
    masks = {}
    for variant in analysis.results.variants:
        files = collected.predictions[collected.models[variant][0]][case]
        mask = np.zeros_like(reference)
        for one in target:
            mask |= postprocess(read_prediction(files, one).mask, analysis.options.scoring)
        masks[variant] = mask
    headline = masks[analysis.headline]
    number = _slice(reference, [headline, *masks.values()])
    spacing = label.GetSpacing()[:2][::-1]
    box = square_around(np.any([reference[number], *(m[number] for m in masks.values())], axis=0), spacing, FIELD_MM)
    index = analysis.results.cases.index(case)
    metric = analysis.primary
    return CasePictures(
        case=case,
        why=why,
        values={v: metric.text(float(analysis.results.overlap[metric.name][v][index])) for v in masks},
        pictures=tuple(_channels(analysis, case, number, box, reference.shape)),
        reference=outline(reference[number], box),
        outlines={variant: outline(mask[number], box) for variant, mask in masks.items()},
        slice=(number + 1, len(reference)),
    )


def _slice(reference: np.ndarray, masks: Sequence[np.ndarray]) -> int:
    """The slice with most of the reference; without a reference, of the first mask that has anything."""
    for mask in (reference, *masks):
        if mask.any():
            return int(np.argmax(mask.sum(axis=(1, 2))))
    return len(reference) // 2


def outline(mask: np.ndarray, box: Box) -> str:
    """The outline of a mask (y, x) as an SVG path, the box being 100 x 100 units."""
    if not mask.any():
        return ""
    from contourpy import contour_generator

    top, left, height, width = box
    lines = contour_generator(z=np.pad(mask.astype(float), 1)).lines(0.5)
    parts = []
    for line in lines:
        points = np.asarray(line) - 0.5  # minus the padding, plus half a voxel: x, y of edges
        x, y = (points[:, 0] - left) / width * 100, (points[:, 1] - top) / height * 100
        parts.append("M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True)) + "Z")
    return "".join(parts)


def _channels(analysis: Analysis, case: str, number: int, box: Box, shape: tuple[int, ...]) -> Iterator[Picture]:
    raw = analysis.collected.folders.raw
    description = analysis.collected.dataset_json
    ending = str(description.get("file_ending", ".nii.gz"))
    names = description.get("channel_contents") or description.get("channel_names") or {}
    for channel, name in list(names.items())[:3]:
        path = None if raw is None else _image(raw / analysis.study.dataset, f"{case}_{int(channel):04d}{ending}")
        if path is None:
            continue
        image = sitk.GetArrayFromImage(read_image(path, finite=False)).astype(np.float32)
        if image.shape == shape:
            yield Picture(str(name).split(" (")[0], _picture(image, number, box))


def _image(dataset: Path, name: str) -> Path | None:
    return next((path for path in (dataset / "imagesTr" / name,) if path.is_file()), None)


def _picture(image: np.ndarray, number: int, box: Box) -> str:
    from PIL import Image

    low, high = np.percentile(image, (0.5, 99.5))
    grey = np.clip((image[number] - low) / max(float(high - low), 1e-6), 0, 1)
    top, left, height, width = box
    whole = Image.fromarray(np.round(255 * grey).astype(np.uint8), "L")
    part = whole.resize((PIXELS, PIXELS), Image.Resampling.BICUBIC, box=(left, top, left + width, top + height))
    file = io.BytesIO()
    part.save(file, "JPEG", quality=85, optimize=True)
    return data_uri(file.getvalue(), "image/jpeg")
