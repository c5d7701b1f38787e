"""Conformant MR series of a SimpleITK image: classic single-frame files with b-values, or one enhanced multi-frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

MR, ENHANCED = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"


@dataclass
class Study:
    """A study of one patient: series share study, patient and frame of reference."""

    folder: Path
    patient: str = "PATIENT1"
    uid: str = field(default_factory=generate_uid)
    frame: str = field(default_factory=generate_uid)

    def series(
        self,
        image: sitk.Image,
        number: int,
        description: str,
        *,
        image_type: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "M", "NONE"),
        b_values: tuple[float | None, ...] = (None,),
        slope: float = 1.0,
        name: str | None = None,
    ) -> Path:
        """Write classic files, one per slice and b-value; returns their folder."""
        folder = self.folder / (name or f"{number:03d}")
        folder.mkdir(parents=True, exist_ok=True)
        uid = generate_uid()
        for offset, b_value in enumerate(b_values):
            for index in range(image.GetDepth()):
                one = self._common(uid, number, description, image_type, MR)
                one.InstanceNumber = offset * image.GetDepth() + index + 1
                one.ImagePositionPatient = _text(image.TransformIndexToPhysicalPoint((0, 0, index)))
                one.ImageOrientationPatient = _text(_plane(image))
                one.PixelSpacing = _text(image.GetSpacing()[1::-1])
                one.SliceThickness = _text(image.GetSpacing()[2:])[0]
                one.FrameOfReferenceUID, one.PositionReferenceIndicator = self.frame, ""
                if b_value is not None:
                    one.DiffusionBValue = float(b_value)
                _pixels(one, sitk.GetArrayViewFromImage(image)[index], slope)
                one.save_as(folder / f"{one.InstanceNumber:04d}.dcm", enforce_file_format=True)
        return folder

    def enhanced(self, image: sitk.Image, number: int, description: str, b_values: tuple[float, ...] = ()) -> Path:
        """Write one enhanced multi-frame file of all slices (and b-values); returns its folder."""
        folder = self.folder / f"{number:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        one = self._common(generate_uid(), number, description, ("ORIGINAL", "PRIMARY", "T2", "NONE"), ENHANCED)
        one.InstanceNumber, one.FrameOfReferenceUID, one.PositionReferenceIndicator = 1, self.frame, ""
        one.ContentDate, one.ContentTime = "20240101", "120000"
        measures, plane = Dataset(), Dataset()
        measures.PixelSpacing, measures.SliceThickness = _text(image.GetSpacing()[1::-1]), image.GetSpacing()[2]
        plane.ImageOrientationPatient = _text(_plane(image))
        shared = Dataset()
        shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Sequence([measures]), Sequence([plane])
        one.SharedFunctionalGroupsSequence = Sequence([shared])
        frames, values = [], []
        for b_value in b_values or (None,):
            for index in range(image.GetDepth()):
                position, frame = Dataset(), Dataset()
                position.ImagePositionPatient = _text(image.TransformIndexToPhysicalPoint((0, 0, index)))
                frame.PlanePositionSequence = Sequence([position])
                if b_value is not None:
                    diffusion = Dataset()
                    diffusion.DiffusionBValue = float(b_value)
                    frame.MRDiffusionSequence = Sequence([diffusion])
                frames.append(frame)
                values.append(sitk.GetArrayViewFromImage(image)[index] / (1 if not b_value else 2))
        one.PerFrameFunctionalGroupsSequence = Sequence(frames)
        one.NumberOfFrames = len(frames)
        _pixels(one, np.stack(values), 1.0)
        one.save_as(folder / "enhanced.dcm", enforce_file_format=True)
        return folder

    def _common(
        self, series: str, number: int, description: str, image_type: tuple[str, ...], sop_class: str
    ) -> FileDataset:
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        one.SOPClassUID, one.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
        one.StudyInstanceUID, one.SeriesInstanceUID = self.uid, series
        one.PatientID, one.PatientName = self.patient, "Doe^John"
        one.PatientBirthDate, one.PatientSex = "19500101", "M"
        one.StudyDate, one.StudyTime, one.StudyID, one.AccessionNumber = "20240101", "120000", "1", ""
        one.SeriesDate, one.SeriesTime = "20240101", "120000"
        one.ReferringPhysicianName = ""
        one.Modality, one.Manufacturer, one.SeriesNumber, one.SeriesDescription = "MR", "Test", number, description
        one.ImageType = list(image_type)
        one.ScanningSequence, one.SequenceVariant, one.ScanOptions, one.MRAcquisitionType = "SE", "NONE", "", "2D"
        one.EchoTime, one.RepetitionTime, one.EchoTrainLength = "100", "4000", "1"
        one.MagneticFieldStrength = "3"
        return one


def _text(values: object) -> list[str]:
    return [f"{float(value):.10g}" for value in values]  # type: ignore[attr-defined]


def _plane(image: sitk.Image) -> list[float]:
    direction = np.array(image.GetDirection()).reshape(3, 3)
    return [*direction[:, 0], *direction[:, 1]]


def _pixels(one: Dataset, values: np.ndarray, slope: float) -> None:
    stored = np.clip(np.round(np.asarray(values, dtype=float) / slope), 0, 65535).astype("<u2")
    one.Rows, one.Columns = stored.shape[-2:]
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BitsAllocated = one.BitsStored = 16
    one.HighBit, one.PixelRepresentation = 15, 0
    if slope != 1.0:
        one.RescaleSlope, one.RescaleIntercept, one.RescaleType = f"{slope:g}", "0", "US"
    one.PixelData = stored.tobytes()
