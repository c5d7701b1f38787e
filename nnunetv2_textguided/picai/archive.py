"""The image archive: which studies it holds, and which files belong to which.

Layout of the public download (zenodo.org/record/6517398): `<patient>/<patient>_<study>_<modality>.mha`, at any depth,
so that the five zip files may be unpacked into one folder or into five.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.evaluation.cases import patient_of
from nnunetv2_textguided.files import visible_below

# The bpMRI sequences, in nnU-Net channel order.
MODALITIES = ("t2w", "adc", "hbv")
_FILE = re.compile(r"(?P<patient>\d+)_(?P<study>\d+)_(?P<modality>[a-z0-9]+)\.mha")


@dataclass(frozen=True)
class Study:
    """One MRI examination.

    Attributes:
        case: `<patient>_<study>`, the case identifier everywhere.
        images: modality -> file, for the modalities found.
    """

    case: str
    images: dict[str, Path] = field(default_factory=dict)

    @property
    def patient(self) -> str:
        """The patient part of the identifier."""
        return patient_of(self.case)

    def channels(self) -> tuple[Path, ...]:
        """The files of MODALITIES, in order.

        Raises:
            DataError: one or more are missing.
        """
        missing = [m for m in MODALITIES if m not in self.images]
        if missing:
            folder = next(iter(self.images.values())).parent
            names = ", ".join(f"{self.case}_{m}.mha" for m in missing)
            raise DataError(
                f"Missing {' and '.join(m.upper() for m in missing)} of study {self.case}.",
                where=f"{folder} ({names})",
                remedy="Unpack the archive's zip file of this patient again, or remove the study's folder.",
            )
        return tuple(self.images[m] for m in MODALITIES)


@dataclass(frozen=True)
class Archive:
    """Studies by case identifier, and the files that could not be assigned, each as an error for the user."""

    studies: dict[str, Study]
    problems: dict[str, DataError]


def scan_archive(folder: str | Path) -> Archive:
    """Find every study below `folder`.

    A file whose name is not `<patient>_<study>_<modality>.mha`, that lies in another patient's folder, or that exists
    twice is a problem of its own; its study goes on without it.

    Raises:
        DataError: the folder does not exist, or holds no `.mha` file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError("The image folder does not exist.", where=folder, remedy="Check --images.")
    files = visible_below(folder, "*.mha")
    if not files:
        raise DataError(
            "The image folder holds no .mha file.",
            where=folder,
            remedy="Unpack picai_public_images_fold*.zip (zenodo.org/record/6517398) into it.",
        )
    return _assign(files)


def _assign(files: Iterable[Path]) -> Archive:
    images: dict[str, dict[str, Path]] = {}
    problems: dict[str, DataError] = {}
    for path in files:
        match = _FILE.fullmatch(path.name)
        if match is None:
            problems[path.name] = DataError(
                "The file name is not <patient>_<study>_<modality>.mha with numeric identifiers.",
                where=path,
                remedy="Rename it after the marksheet's patient_id and study_id, or move it out of the image folder.",
            )
            continue
        case, modality = f"{match['patient']}_{match['study']}", match["modality"]
        if path.parent.name.isdigit() and path.parent.name != match["patient"]:
            problems[path.name] = DataError(
                f"The file of patient {match['patient']} lies in the folder of patient {path.parent.name}.",
                where=path,
                remedy="Find out whose examination it is; move or rename the file.",
            )
        elif modality in images.setdefault(case, {}):
            problems[path.name] = DataError(
                f"The file exists twice; the other is {images[case][modality]}.",
                where=path,
                remedy="Remove one of the two.",
            )
        else:
            images[case][modality] = path
    return Archive({case: Study(case, found) for case, found in sorted(images.items()) if found}, problems)
