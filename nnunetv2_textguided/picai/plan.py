"""Deciding, before any voxel is read, what is prepared from which files and what is not, and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from nnunetv2_textguided.errors import DataError, TextGuidedError
from nnunetv2_textguided.nnunet.splits import Splits
from nnunetv2_textguided.picai.archive import Archive, Study, scan_archive
from nnunetv2_textguided.picai.case_job import CaseJob
from nnunetv2_textguided.picai.folds import official_folds
from nnunetv2_textguided.picai.kinds import describe, kind_of
from nnunetv2_textguided.picai.label_sources import LabelFolder, choose_source, scan_labels
from nnunetv2_textguided.picai.marksheet import MARKSHEET, Row, read_marksheet
from nnunetv2_textguided.picai.options import PrepareOptions
from nnunetv2_textguided.picai.zones import ZONE_SOURCES


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    Attributes:
        jobs: the cases to prepare, by identifier.
        skipped: case -> why an option or the label set leaves it out.
        failed: case or file -> what is wrong with it.
        absent: cases of the official folds that the image folder does not hold.
        rows: the marksheet.
        splits: the official folds, complete.
    """

    jobs: dict[str, CaseJob]
    skipped: dict[str, str]
    failed: dict[str, TextGuidedError]
    absent: tuple[str, ...]
    rows: dict[str, Row] = field(repr=False)
    splits: Splits = field(repr=False)

    def describe(self) -> str:
        """A few lines: how many studies, from which label source, in which folds."""
        outlined = {case: job.source for case, job in self.jobs.items() if job.source is not None}
        sources = Counter(source.label for source in outlined.values())
        patients = {case.split("_")[0] for case in self.jobs}
        positive = sum(self.rows[case].cspca for case in self.jobs)
        lines = [
            f"{len(self.jobs)} studies of {len(patients)} patients to prepare, {positive} with csPCa; lesion masks: "
            + (", ".join(f"{name} {count}" for name, count in sorted(sources.items())) or "none")
        ]
        if len(outlined) < len(self.jobs):
            lines.append(describe(kind_of(job.source is not None, job.cspca) for job in self.jobs.values()))
        sizes = "/".join(str(sum(case in outlined for case in fold["val"])) for fold in self.splits)
        lines.append(f"validation cases in the five official folds: {sizes}")
        if self.absent:
            lines.append(f"{len(self.absent)} studies of the official folds are not in the image folder")
        return "\n".join(lines)


def make_plan(images: Path, labels: Path, dataset: Path, options: PrepareOptions) -> Plan:
    """Match images, masks, marksheet and folds.

    Args:
        images: folder of the image archive.
        labels: checkout of picai_labels.
        dataset: the nnU-Net raw data set to write.
        options: what to write.

    Raises:
        DataError: one of the folders is not what it should be, or no study can be prepared.
    """
    archive = scan_archive(images)
    label_folder = scan_labels(labels)
    rows = read_marksheet(labels / MARKSHEET)
    splits = official_folds(options.folds)
    official = {case for fold in splits for part in fold.values() for case in part}
    jobs: dict[str, CaseJob] = {}
    skipped: dict[str, str] = {}
    failed: dict[str, TextGuidedError] = dict(archive.problems)
    for study in archive.studies.values():
        try:
            planned = _plan_case(study, rows, official, label_folder, dataset, options)
        except DataError as error:
            failed[study.case] = error
            continue
        if isinstance(planned, CaseJob):
            jobs[study.case] = planned
        else:
            skipped[study.case] = planned
    return Plan(jobs, skipped, failed, _absent(archive, official), rows, splits)


def _absent(archive: Archive, official: set[str]) -> tuple[str, ...]:
    return tuple(sorted(official - archive.studies.keys()))


def _plan_case(
    study: Study,
    rows: dict[str, Row],
    official: set[str],
    labels: LabelFolder,
    dataset: Path,
    options: PrepareOptions,
) -> CaseJob | str:
    """A job, or the reason for skipping the study; raises DataError where something is wrong with it."""
    row = rows.get(study.case)
    if row is None:
        raise DataError(
            f"The marksheet has no study {study.case}.",
            where=next(iter(study.images.values())),
            remedy="Correct the identifier in the file names, update picai_labels, or remove the files.",
        )
    if study.case not in official:
        return f"not in the official folds of {options.folds} studies"
    channels = study.channels()
    source = choose_source(study.case, labels, allow_ai=options.ai_labels)
    if source is None and not options.text_cases:
        return "no human lesion mask (update picai_labels for Pooch25, or ask for AI masks with --ai-labels)"
    gland = labels.gland_file(study.case)
    zones: dict[str, Path] = {}
    if options.needs_zones:
        wanted = ZONE_SOURCES if options.zone_source == "auto" else (options.zone_source,)
        files = {name: labels.zone_file(study.case, name) for name in wanted}
        zones = {name: path for name, path in files.items() if path.is_file()}
    return CaseJob(
        case=study.case,
        images=channels,
        lesion=None if source is None else labels.lesion_file(study.case, source),
        source=source,
        gland=gland if gland.is_file() else None,
        zones=zones,
        cspca=row.cspca,
        isup=row.isup,
        options=options,
        dataset=dataset,
    )
