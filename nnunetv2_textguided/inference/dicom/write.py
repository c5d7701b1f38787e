"""Lesions as DICOM objects that a PACS takes: a segmentation and a structured report, both by highdicom.

Both reference the T2W series that the lesions were drawn on, and say that they are for research use only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk

from nnunetv2_textguided import __version__
from nnunetv2_textguided.anatomy.sectors import affine_of
from nnunetv2_textguided.extras import require
from nnunetv2_textguided.files import atomic_path

if TYPE_CHECKING:
    from pydicom import Dataset

MANUFACTURER, PRODUCT = "nnunetv2-textguided developers", "nnunetv2-textguided"
RESEARCH_ONLY = "For research use only; not for diagnosis."
UTF8 = "ISO_IR 192"
SEG_SERIES, SR_SERIES = 9001, 9002
"""Series numbers that no scanner uses."""


@dataclass(frozen=True)
class Found:
    """What was found in a study.

    Attributes:
        numbers: (z, y, x) image of lesion numbers, 0 elsewhere, on the grid of the source series.
        lesions: for each number from 1, its measurements: volume_ml, diameter_mm, confidence.
        likelihood: of the case, in [0, 1].
        label: what the lesions are, such as csPCa.
        model: name of the model, for the algorithm's identification.
        sentence: the finding that was given beside the images, if any.
    """

    numbers: sitk.Image
    lesions: Sequence[Mapping[str, float]]
    likelihood: float
    label: str
    model: str
    sentence: str | None = None


def write_objects(folder: Path, found: Found, sources: Sequence[Dataset]) -> list[Path]:
    """Write lesions.seg.dcm, where there are lesions, and report.sr.dcm.

    Args:
        folder: where to.
        found: the lesions.
        sources: data sets of the series that they were drawn on, with pixels; their texts are in UTF-8 afterwards.

    Returns:
        The files.
    """
    hd = require("highdicom")
    for one in sources:
        # highdicom takes no code extensions, which Japanese and Korean scanners write: names would be an error.
        one.decode()
        one.SpecificCharacterSet = UTF8
    series_uid = hd.UID()
    tracking = [(f"{found.label} {number}", hd.UID()) for number in range(1, len(found.lesions) + 1)]
    files = []
    segmentation = _segmentation(found, sources, tracking, series_uid) if found.lesions else None
    if segmentation is not None:
        files.append(_save(segmentation, folder / "lesions.seg.dcm"))
    report = _report(found, sources, tracking, segmentation)
    return [*files, _save(report, folder / "report.sr.dcm")]


def _save(one: Any, path: Path) -> Path:
    with atomic_path(path) as temporary:
        one.save_as(temporary)
    return path


def _algorithm(found: Found) -> Any:
    hd = require("highdicom")
    codes = require("pydicom.sr.codedict").codes
    return hd.AlgorithmIdentificationSequence(
        name=f"{PRODUCT}: {found.model}"[:64], family=codes.DCM.ArtificialIntelligence, version=__version__
    )


def _segmentation(found: Found, sources: Sequence[Dataset], tracking: Sequence[tuple[str, Any]], series: Any) -> Any:
    hd = require("highdicom")
    codes = require("pydicom.sr.codedict").codes
    descriptions = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=name,
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Lesion,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=_algorithm(found),
            tracking_uid=uid,
            tracking_id=name,
            anatomic_regions=[codes.SCT.Prostate],
        )
        for number, (name, uid) in enumerate(tracking, start=1)
    ]
    return hd.seg.Segmentation(
        source_images=list(sources),
        pixel_array=_volume(found.numbers, sources),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=descriptions,
        series_instance_uid=series,
        series_number=SEG_SERIES,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=PRODUCT,
        software_versions=__version__,
        device_serial_number="0",
        content_label="LESIONS",
        content_description=RESEARCH_ONLY,
        series_description=f"{found.label} lesions, research use only"[:64],
    )


def _volume(numbers: sitk.Image, sources: Sequence[Dataset]) -> Any:
    hd = require("highdicom")
    affine = np.eye(4)
    affine[:3] = affine_of(numbers.GetSpacing(), numbers.GetOrigin(), numbers.GetDirection())
    return hd.Volume(
        array=sitk.GetArrayFromImage(numbers).astype(np.uint8),
        affine=affine,
        coordinate_system="PATIENT",
        frame_of_reference_uid=sources[0].FrameOfReferenceUID,
    )


def _report(found: Found, sources: Sequence[Dataset], tracking: Sequence[tuple[str, Any]], segmentation: Any) -> Any:
    hd = require("highdicom")
    codes = require("pydicom.sr.codedict").codes
    groups = [
        _lesion_group(found, dict(lesion), name, uid, segmentation, number, sources[0].SeriesInstanceUID)
        for number, (lesion, (name, uid)) in enumerate(zip(found.lesions, tracking, strict=True), start=1)
    ]
    groups.append(_case_group(found, sources))
    observer = hd.sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=hd.UID(), name=PRODUCT, manufacturer_name=MANUFACTURER, model_name=found.model[:64]
        ),
    )
    content = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=observer),
        procedure_reported=hd.sr.CodedConcept("719178004", "SCT", "MRI of prostate"),
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    return hd.sr.Comprehensive3DSR(
        evidence=[*sources, *([segmentation] if segmentation is not None else [])],
        content=content,
        series_number=SR_SERIES,
        series_instance_uid=hd.UID(),
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=PRODUCT,
        software_versions=__version__,
        series_description=f"{found.label} measurements, research use only"[:64],
    )


def _lesion_group(
    found: Found, lesion: Mapping[str, float], name: str, uid: Any, segmentation: Any, number: int, source_series: str
) -> Any:
    hd = require("highdicom")
    codes = require("pydicom.sr.codedict").codes
    diameter = hd.sr.CodedConcept("L0JK", "IBSI", "Maximum 3D Diameter")
    measurements = [
        hd.sr.Measurement(
            codes.SCT.Volume, round(lesion["volume_ml"], 4), hd.sr.CodedConcept("ml", "UCUM", "milliliter")
        ),
        hd.sr.Measurement(diameter, round(lesion["diameter_mm"], 2), hd.sr.CodedConcept("mm", "UCUM", "millimeter")),
        hd.sr.Measurement(
            codes.DCM.CertaintyOfFinding,
            round(100 * lesion["confidence"], 2),
            hd.sr.CodedConcept("%", "UCUM", "percent"),
        ),
    ]
    group = hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=uid, identifier=name),
        # Not from_segmentation: highdicom 0.28 fails where a segmentation has a single segment.
        referenced_segment=hd.sr.ReferencedSegment(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            segment_number=number,
            source_series=hd.sr.SourceSeriesForSegmentation(source_series),
        ),
        finding_type=codes.SCT.Lesion,
        finding_sites=[hd.sr.FindingSite(codes.SCT.Prostate)],
        measurements=measurements,
    )
    return _with_comments(group, found)


def _case_group(found: Found, sources: Sequence[Dataset]) -> Any:
    """The whole study: how likely it has what the model looks for, also where no lesion was found."""
    hd = require("highdicom")
    codes = require("pydicom.sr.codedict").codes
    likelihood = round(100 * found.likelihood, 2)
    group = hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=hd.UID(), identifier=f"{found.label}, whole study"),
        source_images=[hd.sr.SourceImageForMeasurementGroup.from_source_image(sources[0])],
        finding_sites=[hd.sr.FindingSite(codes.SCT.Prostate)],
        measurements=[
            hd.sr.Measurement(codes.DCM.CertaintyOfFinding, likelihood, hd.sr.CodedConcept("%", "UCUM", "percent"))
        ],
    )
    return _with_comments(group, found)


def _with_comments(group: Any, found: Found) -> Any:
    hd = require("highdicom")
    codes = require("pydicom.sr.codedict").codes
    texts = [RESEARCH_ONLY, *([f"Given beside the images: {found.sentence}"] if found.sentence else [])]
    for text in texts:
        item = hd.sr.TextContentItem(codes.DCM.Comment, text, hd.sr.RelationshipTypeValues.CONTAINS)
        group[0].ContentSequence.append(item)
    return group
