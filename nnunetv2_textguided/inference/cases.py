"""Cases of an input folder: their files, checked before anything is predicted, and where their results go."""

from __future__ import annotations

import re
import shutil
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.inference.options import OutputOptions

HEATMAPS, CHANGES, CASES, DETECTIONS, OVERLAYS, VIEWER = (
    "heatmaps",
    "changes",
    "cases",
    "detection_maps",
    "overlays",
    "viewer",
)
"""Folders within the prediction folder. The masks lie where nnU-Net puts them: in the prediction folder itself."""
PARTIAL = ".partial"
"""End of the name of the hidden folder in which a case's results are written before they appear together."""


@dataclass(frozen=True)
class Case:
    """A case: its identifier and one file per channel, in order."""

    name: str
    files: tuple[Path, ...]


def find_cases(folder: Path, ending: str, channels: int) -> list[Case]:
    """The cases of an nnU-Net image folder (CASE_0000.nii.gz, CASE_0001.nii.gz, ...), in nnU-Net's order.

    Raises:
        DataError: there is none, or a channel of one is missing.
    """
    if not folder.is_dir():
        raise DataError("The input folder does not exist.", where=folder, remedy="Check -i.")
    pattern = re.compile(rf"(?P<case>.+)_\d{{4}}{re.escape(ending)}")
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if match := pattern.fullmatch(path.name):
            found.setdefault(match["case"], []).append(path)
    if not found:
        raise DataError(
            f"The input folder holds no image CASE_0000{ending}.",
            where=folder,
            remedy="nnU-Net tells channels by _0000, _0001, ... and the model expects this file ending.",
        )
    for case, files in found.items():
        expected = [f"{case}_{channel:04d}{ending}" for channel in range(channels)]
        if [file.name for file in files] != expected:
            raise DataError(
                f"Case {case} has {', '.join(f.name for f in files)}; the model expects {', '.join(expected)}.",
                where=folder,
                remedy="Add the missing channels, in the order of the model's dataset.json.",
            )
    return [Case(name, tuple(found[name])) for name in sorted(found)]


def check_files(case: Case) -> None:
    """Raise DataError if a file of the case is truncated. ITK silently fills a short NIfTI with zeros."""
    import gzip

    for path in case.files:
        if not path.is_file():
            raise DataError("The image does not exist.", where=path)
        if path.name.endswith(".gz"):
            try:
                with gzip.open(path) as stream:
                    while stream.read(1 << 22):
                        pass
            except (EOFError, OSError, zlib.error) as error:
                raise DataError(
                    f"The image is truncated or damaged: {error}.", where=path, remedy="Copy the file again."
                ) from error


def remove_leftovers(folder: Path, cases: Collection[str]) -> None:
    """Remove what a killed run left half written for these cases. Other parts of a cohort may be at work on others."""
    pattern = re.compile(rf"\.(?P<case>.+)\.[a-z0-9_]{{8}}{re.escape(PARTIAL)}")
    for path in folder.glob(f".*{PARTIAL}") if folder.is_dir() else ():
        if (match := pattern.fullmatch(path.name)) and match["case"] in cases:
            shutil.rmtree(path)


def file_name(label: str) -> str:
    """A label as part of a path: letters, digits, dot, dash and underscore of any script; the rest becomes "_"."""
    return re.sub(r"[^\w.-]", "_", label).lstrip(".") or "_"


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


def results_of(case: str, labels: Sequence[str], ending: str, output: OutputOptions) -> Results:
    """What a case's results will be."""
    mask = Path(case + ending)
    files: list[Path] = []
    if output.heatmaps:
        files += [Path(kind, file_name(label), f"{case}.nii.gz") for kind in (HEATMAPS, CHANGES) for label in labels]
    if output.probabilities:
        files += [Path(case + ".npz"), Path(case + ".pkl")]
    if output.candidates != "none":
        files += [Path(DETECTIONS, f"{case}_detection_map.nii.gz")]
    if output.overlays:
        files += [Path(OVERLAYS, f"{case}.png")]
    if output.viewer:
        files += [Path(VIEWER, f"{case}.js")]
    files += [Path(CASES, f"{case}.json")]
    return Results((*files, mask), mask)
