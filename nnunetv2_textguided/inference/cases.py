"""A case that is predicted, and where its results go."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import SimpleITK as sitk

from nnunetv2_textguided.inference.options import OutputOptions
from nnunetv2_textguided.nnunet.labels import file_names
from nnunetv2_textguided.text.case_text import CaseText

HEATMAPS, CHANGES, CASES, DETECTIONS, OVERLAYS, VIEWER = (
    "heatmaps",
    "changes",
    "cases",
    "detection_maps",
    "overlays",
    "viewer",
)
PROBABILITIES, LESIONS = "probability_maps", "lesion_maps"
SENTENCES, WITHOUT_TEXT = "sentence_maps", "without_text"
"""Folders within the prediction folder. The masks lie where nnU-Net puts them: in the prediction folder itself."""
PARTIAL = ".partial"
"""End of the name of the hidden folder in which a case's results are written before they appear together."""


@dataclass(frozen=True)
class Case:
    """A case.

    Attributes:
        name: its identifier.
        channels: in the model's order, each an image file or an image in memory.
        missing: indices of the channels that it lacks, which hold zeros.
        text: what the network is told of it beside the images.
        known: all that is known of it, from which its likelihood is computed, too.
    """

    name: str
    channels: tuple[Path | sitk.Image, ...]
    missing: tuple[int, ...] = ()
    text: CaseText = field(default_factory=CaseText)
    known: CaseText = field(default_factory=CaseText)

    @property
    def sources(self) -> list[str]:
        """Name of each channel's file."""
        return [one.name if isinstance(one, Path) else "image in memory" for one in self.channels]


def remove_leftovers(folder: Path, cases: Collection[str]) -> None:
    """Remove what a killed run left half written for these cases. Other parts of a cohort may be at work on others."""
    pattern = re.compile(rf"\.(?P<case>.+)\.[a-z0-9_]{{8}}{re.escape(PARTIAL)}")
    for path in folder.glob(f".*{PARTIAL}") if folder.is_dir() else ():
        if (match := pattern.fullmatch(path.name)) and match["case"] in cases:
            shutil.rmtree(path)


@dataclass(frozen=True)
class Results:
    """The files of one case's results, relative to the prediction folder.

    Attributes:
        required: what has to be there for the case to be complete; the mask is last.
        mask: nnU-Net's mask.
    """

    required: tuple[Path, ...]
    mask: Path

    def complete(self, folder: Path) -> bool:
        """Whether all of it is in the prediction folder."""
        return all((folder / path).is_file() for path in self.required)


def sentence_map(case: str, number: int) -> Path:
    """The map of a case's sentence, which are counted from 1, relative to the prediction folder."""
    return Path(SENTENCES, f"{case}_{number}.nii.gz")


def results_of(told: Case, labels: Sequence[str], ending: str, output: OutputOptions) -> Results:
    """What a case's results will be."""
    case = told.name
    mask = Path(case + ending)
    files: list[Path] = []
    if output.heatmaps:
        names = file_names(labels).values()
        files += [Path(kind, name, f"{case}.nii.gz") for kind in (HEATMAPS, CHANGES) for name in names]
    if output.probabilities:
        files += [Path(case + ".npz"), Path(case + ".pkl")]
    if output.candidates != "none":
        files += [Path(DETECTIONS, f"{case}_detection_map.nii.gz")]
    if output.lesion_maps:
        files += [Path(PROBABILITIES, f"{case}.nii.gz"), Path(LESIONS, f"{case}.nii.gz")]
    if output.overlays:
        files += [Path(OVERLAYS, f"{case}.png")]
    if output.viewer:
        files += [Path(VIEWER, f"{case}.js")]
    if told.text:
        files += [Path(WITHOUT_TEXT, case + ending)]
        files += [sentence_map(case, number + 1) for number in range(len(told.text.findings))]
    files += [Path(CASES, f"{case}.json")]
    return Results((*files, mask), mask)
