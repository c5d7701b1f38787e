"""The DICOM series of a folder: which there are, and what their headers say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.extras import require
from nnunetv2_textguided.files import visible_below

if TYPE_CHECKING:
    from pydicom import Dataset

IMAGES = {
    "1.2.840.10008.5.1.4.1.1.4": "MR",
    "1.2.840.10008.5.1.4.1.1.4.1": "enhanced MR",
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.2.1": "enhanced CT",
}
"""SOP classes whose series are volumes. Others (reports, localisers' secondary captures) are no channels."""
DICOM_ENDINGS = (".dcm", ".ima", ".dicom")
"""Names that say what the file is. Scanners' exports often have none."""
# Where vendors kept the b-value before the standard's attribute (0018,9087): Siemens, GE.
_SIEMENS_B, _GE_B = (0x0019, 0x100C), (0x0043, 0x1039)


@dataclass(frozen=True)
class Series:
    """One series of a study.

    Attributes:
        uid: SeriesInstanceUID.
        files: its files, and for each its header without pixels.
        number: SeriesNumber, "" where not given.
        description: SeriesDescription and ProtocolName.
        image_type: the values of ImageType of its first image.
        b_values: b-values of its images in s/mm2, ascending; empty where no header says any.
        orientation: "axial", "coronal" or "sagittal", by the normal of its slices.
        patient: PatientID.
        study: StudyInstanceUID.
        frame: FrameOfReferenceUID.
    """

    uid: str
    files: tuple[Path, ...]
    headers: tuple[Dataset, ...]
    number: str
    description: str
    image_type: tuple[str, ...]
    b_values: tuple[float, ...]
    orientation: str
    patient: str
    study: str
    frame: str

    def __str__(self) -> str:
        b = f", b {'/'.join(f'{value:g}' for value in self.b_values)}" if self.b_values else ""
        kind = "\\".join(self.image_type)
        return f"{self.number or '?'} {self.description!r} ({self.orientation}, {len(self.files)} files, {kind}{b})"


def find_series(folder: Path) -> tuple[list[Series], list[Path]]:
    """All image series below a folder, by number, and the files that are no DICOM.

    Raises:
        DataError: there is no folder, no image series, a file is damaged, or the files are of several patients or
            studies.
    """
    if not folder.is_dir():
        raise DataError("The folder does not exist.", where=folder)
    by_uid: dict[str, list[tuple[Path, Dataset]]] = {}
    foreign = []
    for path in filter(Path.is_file, visible_below(folder)):
        header = _read_header(path)
        if header is None:
            foreign.append(path)
        elif str(header.get("SOPClassUID", "")) in IMAGES:
            by_uid.setdefault(str(header.SeriesInstanceUID), []).append((path, header))
    series = [_series(uid, sorted(found, key=lambda item: item[0])) for uid, found in by_uid.items()]
    if not series:
        raise DataError(
            f"There is no DICOM image series ({len(foreign)} other files).",
            where=folder,
            remedy="Give the folder of one exported study, or of one series.",
        )
    check_one_patient(series, folder)
    return sorted(series, key=lambda one: (_as_number(one.number), one.uid)), foreign


def _read_header(path: Path) -> Dataset | None:
    """A file's header without pixels; None where it is no DICOM and does not say that it was.

    Raises:
        DataError: the file is damaged. Left aside, it would be a slice less that nobody misses.
    """
    pydicom = require("pydicom")
    try:
        header: Dataset = pydicom.dcmread(path, stop_before_pixels=True)
    except pydicom.errors.InvalidDicomError:
        if path.stat().st_size and path.suffix.lower() not in DICOM_ENDINGS:
            return None
        raise _damaged(path, "it is empty or no DICOM") from None
    except (OSError, EOFError, ValueError, KeyError, AttributeError) as error:
        raise _damaged(path, str(error)) from error
    announced = str(header.file_meta.get("MediaStorageSOPClassUID", ""))
    image = announced in IMAGES or str(header.get("SOPClassUID", "")) in IMAGES
    missing = [key for key in ("SOPClassUID", "SeriesInstanceUID", "StudyInstanceUID") if not header.get(key)]
    if image and missing:
        raise _damaged(path, f"its header lacks {', '.join(missing)}")
    return header


def _damaged(path: Path, why: str) -> DataError:
    return DataError(
        f"The file cannot be read: {why}.", where=path, remedy="Export or copy the study again, or move the file away."
    )


def check_one_patient(series: Sequence[Series], where: object) -> None:
    """Raise DataError where series are of several patients or studies."""
    for what, values in (("patients", {s.patient for s in series}), ("studies", {s.study for s in series})):
        if len(values) > 1:
            raise DataError(
                f"The files are of {len(values)} {what}: {', '.join(sorted(values)[:5])}.",
                where=where,
                remedy="Give one study of one patient at a time.",
            )


def _series(uid: str, found: list[tuple[Path, Dataset]]) -> Series:
    files, headers = zip(*found, strict=True)
    first: Dataset = headers[0]
    values = {value for header in headers for value in b_values_of(header)}
    words = [str(first.get(key, "") or "") for key in ("SeriesDescription", "ProtocolName")]
    return Series(
        uid,
        files,
        headers,
        str(first.get("SeriesNumber", "") or ""),
        " | ".join(dict.fromkeys(filter(None, words))),
        tuple(map(str, first.get("ImageType", ()))),
        tuple(sorted(values)),
        _orientation(first, files[0]),
        str(first.get("PatientID", "")),
        str(first.get("StudyInstanceUID", "")),
        str(first.get("FrameOfReferenceUID", "")),
    )


def b_values_of(header: Dataset) -> list[float]:
    """The b-values that one file's header says, in s/mm2: the standard's attribute, else Siemens' or GE's own."""
    found: list[Any] = []
    frames = header.get("PerFrameFunctionalGroupsSequence", ())
    for group in (*frames, *header.get("SharedFunctionalGroupsSequence", ())):
        found += [item.get("DiffusionBValue") for item in group.get("MRDiffusionSequence", ())]
    found.append(header.get("DiffusionBValue"))
    if not any(value is not None for value in found):
        for tag in (_SIEMENS_B, _GE_B):
            if tag in header:
                value = header[tag].value
                found.append(value[0] if isinstance(value, (list, tuple)) or hasattr(value, "__iter__") else value)
    return [b for b in map(_b_value, found) if b is not None]


def _b_value(value: Any) -> float | None:
    try:
        number = float(value.decode() if isinstance(value, bytes) else value)
    except (TypeError, ValueError):
        return None
    # GE adds 1e9 to what it stores.
    number = number % 1e9
    return number if 0 <= number <= 20_000 else None


def plane_of(header: Dataset, path: Path) -> np.ndarray:
    """(2, 3) row and column direction of a file's first frame.

    Raises:
        DataError: it has none.
    """
    groups = [
        *header.get("PerFrameFunctionalGroupsSequence", ())[:1],
        *header.get("SharedFunctionalGroupsSequence", ()),
    ]
    items = [item for group in groups for item in group.get("PlaneOrientationSequence", ())]
    value = next((source.get("ImageOrientationPatient") for source in [header, *items]
                  if source.get("ImageOrientationPatient") is not None), None)  # fmt: skip
    if value is None or len(value) != 6:
        raise DataError("The image does not say how it lies in the patient.", where=path,
                        remedy="Export the original series, not secondary captures.")  # fmt: skip
    return np.asarray(value, dtype=float).reshape(2, 3)


def _orientation(header: Dataset, path: Path) -> str:
    row, column = plane_of(header, path)
    return ("sagittal", "coronal", "axial")[int(np.abs(np.cross(row, column)).argmax())]


def _as_number(text: str) -> float:
    return float(text) if text.isdecimal() else float("inf")
