"""Report-guided pseudo-labels: a data set of annotated cases and of cases whose lesions a report counts.

The model's candidates in each reported case are held against its report (choice.py); what the report confirms becomes
its label. A report without lesions makes a certain negative. Cases that model and report do not agree on are left out.
Any trainer learns from the result; its folds validate annotated cases only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunetv2_textguided.anatomy.sectors import affine_of, sector_map
from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.files import read_json
from nnunetv2_textguided.imaging.images import find_image, read_image
from nnunetv2_textguided.inference.cases import CASES, LESIONS, PROBABILITIES, Case
from nnunetv2_textguided.inference.cohort import Cohort, find_cases
from nnunetv2_textguided.inference.loading import Session, open_session
from nnunetv2_textguided.inference.options import ModelOptions, OutputOptions, WorkOptions
from nnunetv2_textguided.inference.run import predict_cases
from nnunetv2_textguided.inference.zones import read_zones
from nnunetv2_textguided.nnunet.labels import Target
from nnunetv2_textguided.reports.choice import Found, choose, misfit, place_of
from nnunetv2_textguided.reports.dataset import Annotated, Labelled, check_target, write_dataset
from nnunetv2_textguided.reports.placing import most_probable
from nnunetv2_textguided.reports.words import Word
from nnunetv2_textguided.text.case_text import CaseText, read_case_text

PREDICTIONS = "pseudo_labels"
"""Folder in the new data set with the predictions, which a run that was ended goes on from."""


@dataclass(frozen=True)
class Plan:
    """What is made of what.

    Attributes:
        annotated: the data set with outlines.
        images: folder of images, of which those without an outline and with a report count.
        reports: file of case text with targets.
        target: the new raw data set's folder.
        model: that finds candidates.
        label: the lesion's label.
        words: which of a report's words count.
        zones: folder of zone masks, for places; None: places are not used.
        keep_unmatched: outline a located lesion that is no candidate at its most probable place (placing.py).
        work: how predicting is divided.
    """

    annotated: Annotated
    images: Path
    reports: Path
    target: Path
    model: ModelOptions
    label: Target
    words: tuple[Word, ...]
    zones: Path | None
    keep_unmatched: bool
    work: WorkOptions


def make_pseudo_labels(plan: Plan) -> list[Labelled]:
    """Predict the reported cases, choose, and write the data set.

    Returns:
        What became of each case, by name.

    Raises:
        DataError: nothing can be made: no reported case, a report of a case that is not there, a folder that holds
            something else, a model that does not fit, or a report that does not fit its patient's zones.
    """
    check_target(plan.target, PREDICTIONS)
    output = OutputOptions(
        plan.target / PREDICTIONS, lesion_label=plan.label.name, zones=plan.zones, lesion_maps=True
    )  # fmt: skip
    session = open_session(plan.model, output)
    cohort = find_cases(plan.images, session.ending, session.channels)
    texts = read_case_text(plan.reports, {*cohort.names, *plan.annotated.cases, *plan.annotated.text_only})
    reported = {name: texts[name] for name in cohort.names if name in texts and name not in plan.annotated.cases}
    reported = {name: text for name, text in reported.items() if text.target is not None}
    if not reported:
        raise DataError(
            "No case without an outline has a report that counts its lesions.",
            where=f"{plan.reports}; {plan.images}",
            remedy='Give such cases {"target": {"lesions": 1}} in the case text, and their images with -i.',
        )
    if plan.zones is not None and "sector" in plan.words:
        _check_places(reported, plan.zones, plan.reports)
    found = [*_without_report(cohort, plan, reported), *_label(session, cohort, reported, plan)]
    made = sorted(found, key=lambda one: one.case)
    write_dataset(plan.target, plan.annotated, made, texts, plan.zones)
    return made


def _check_places(reported: Mapping[str, CaseText], zones: Path, reports: Path) -> None:
    """Raise DataError for reports of lesions that cannot be where the zone masks have no voxel."""
    wrong = []
    for case, text in reported.items():
        path = find_image(zones, case)
        if text.target is None or not text.target.lesions or path is None:  # a mask that is missing is told later
            continue
        mask = read_image(path)
        sectors = _sectors(zones, case, mask)
        assert sectors is not None
        if what := misfit(text.target, sectors, mask.GetSpacing()[::-1]):
            wrong.append(f"{case} ({what})")
    if wrong:
        raise DataError(
            f"{len(wrong)} reports do not fit their patients' zones: {'; '.join(wrong[:5])}.",
            where=f"{reports}; {zones}",
            remedy="Correct the report or the zone mask, or use no places: --words count diameter.",
        )


def _without_report(cohort: Cohort, plan: Plan, reported: Mapping[str, CaseText]) -> list[Labelled]:
    names = set(cohort.names) - set(reported) - set(plan.annotated.cases)
    return [Labelled(name, "left out", reason="no report counts its lesions") for name in sorted(names)]


def _label(session: Session, cohort: Cohort, reported: Mapping[str, CaseText], plan: Plan) -> list[Labelled]:
    """Labels of the reported cases; a report without lesions needs no prediction where lesions are all there is."""
    cases = {case.name: case for case in cohort.cases if case.name in reported}
    made = [Labelled(name, "left out", reason=why) for name, why in cohort.failed.items() if name in reported]
    labels = plan.annotated.labels
    others = len(plan.label.values | {0}) < len(labels.map_values - {labels.ignored})
    empty = {name for name, text in reported.items() if text.target is not None and not text.target.lesions}
    todo = [case for name, case in cases.items() if name not in empty or others]
    failed: Mapping[str, str] = {}
    if todo:
        work = replace(plan.work, continued=True)
        failed = predict_cases(session, Cohort(todo, {}), str(plan.images), work).failed
    made += [Labelled(name, "left out", reason=why) for name, why in failed.items()]
    for name, case in cases.items():
        if name not in failed:
            made.append(_label_case(session, case, reported[name], plan, predicted=case in todo))
    return made


def _label_case(session: Session, case: Case, text: CaseText, plan: Plan, predicted: bool) -> Labelled:
    assert text.target is not None
    channels = tuple(path for path in case.channels if isinstance(path, Path))
    if not predicted:
        return Labelled(case.name, "report without lesion", channels, _empty_like(channels[0]), reported=0)
    folder = session.exporter.output.folder
    mask = sitk.ReadImage(str(folder / f"{case.name}{session.ending}"))
    numbers_image = sitk.ReadImage(str(folder / LESIONS / f"{case.name}.nii.gz"))
    record = read_json(folder / CASES / f"{case.name}.json", error=DataError)
    found = [Found(c["candidate"], c["confidence"], c["diameter_mm"]) for c in record["candidates"]]
    numbers = sitk.GetArrayFromImage(numbers_image)
    sectors = _sectors(plan.zones, case.name, numbers_image)
    size = numbers_image.GetSpacing()[::-1]
    chosen = choose(found, text.target, plan.words, numbers, sectors, size, plan.keep_unmatched)
    lesions, candidates = text.target.lesions, len(found)
    if chosen.numbers is None:
        return Labelled(case.name, "left out", reason=chosen.reason, reported=lesions, candidates=candidates)
    values = sitk.GetArrayFromImage(mask).astype(np.int16)
    values[np.isin(values, list(plan.label.values))] = 0
    values[np.isin(numbers, chosen.numbers)] = min(plan.label.values)
    if chosen.unmatched:
        probability = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / PROBABILITIES / f"{case.name}.nii.gz")))
        for finding in chosen.unmatched:
            place = place_of(finding, sectors, size)
            assert place is not None
            diameter = finding.diameter_mm if "diameter" in plan.words else None
            values[most_probable(probability, place, diameter, size)] = min(plan.label.values)
    image = sitk.Cast(sitk.GetImageFromArray(values), sitk.sitkUInt8)
    image.CopyInformation(numbers_image)
    sure = [one.confidence for one in found if one.number in chosen.numbers]
    origin = "report" if text.target.lesions else "report without lesion"
    origin = "report, placed" if chosen.unmatched else origin
    lowest = min(sure, default=None)
    return Labelled(case.name, origin, channels, image, chosen.reason, lesions, candidates, lowest)


def _empty_like(path: Path) -> sitk.Image:
    scan = sitk.ReadImage(str(path))
    empty = sitk.Image(scan.GetSize(), sitk.sitkUInt8)
    empty.CopyInformation(scan)
    return empty


def _sectors(zones: Path | None, case: str, image: sitk.Image) -> np.ndarray | None:
    if zones is None:
        return None
    affine = affine_of(image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    return sector_map(read_zones(zones, case, image), affine)
