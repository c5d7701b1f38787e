"""What a training learns from cases that have a report and no outline: which they are, how often, and from where."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from batchgenerators.utilities.file_and_folder_operations import load_pickle

from nnunetv2_textguided.anatomy.sectors import SECTORS, Sector, values_within
from nnunetv2_textguided.errors import TrainingError
from nnunetv2_textguided.losses.report import BatchReports
from nnunetv2_textguided.losses.sample_report import SampleReport
from nnunetv2_textguided.nnunet.loaders import PlacedCases
from nnunetv2_textguided.nnunet.plans import LabelManager, PlansManager
from nnunetv2_textguided.nnunet.preprocessed import read_map
from nnunetv2_textguided.settings import Settings, SupervisionSettings
from nnunetv2_textguided.text.dataset import dataset_case_text, has_zones
from nnunetv2_textguided.text.report_target import ReportTarget
from nnunetv2_textguided.training.anatomy import TrainingAnatomy
from nnunetv2_textguided.training.report_labels import reported_channels

PLACES = 1000
"""Voxels of a case around which it is cropped, a random choice."""


def uses_places(settings: Settings, dataset_json: Mapping[str, Any]) -> bool:
    """Whether sectors are read beside the labels, as reports name places and the data set has zones.

    Raises:
        DataError: the data set's description is not valid.
    """
    return settings.text.supervision.enabled and has_zones(dataset_json)


def load_supervision(
    settings: Settings,
    plans: PlansManager,
    configuration: str,
    dataset_json: dict[str, Any],
    preprocessed: str,
    anatomy: TrainingAnatomy | None,
) -> ReportSupervision | None:
    """What a training with these settings learns from reports; None where that is nothing.

    Raises:
        SettingsError: as `reported_channels`.
        DataError: the case text is not valid.
    """
    supervision = settings.text.supervision
    if not supervision.enabled:
        return None
    manager, spacing = plans.get_label_manager(dataset_json), plans.get_configuration(configuration).spacing
    channels = reported_channels(supervision, dataset_json, manager, len(spacing))
    return ReportSupervision(supervision, channels, plans.dataset_name, preprocessed, manager, spacing, anatomy)


@dataclass
class Cases:
    """The training cases by what they teach.

    Attributes:
        lesion: have an outline and a lesion.
        free: have an outline and no lesion.
        targets: what the reports of the others count.
    """

    lesion: list[str] = field(default_factory=list)
    free: list[str] = field(default_factory=list)
    targets: dict[str, ReportTarget] = field(default_factory=dict)

    @property
    def positive(self) -> dict[str, ReportTarget]:
        """Reports that count a lesion."""
        return {case: target for case, target in self.targets.items() if target.lesions}


class ReportSupervision:
    """The reports of a training.

    Args:
        settings: of the supervision, which is on.
        channels: output channels that reports count.
        dataset: name of the data set.
        preprocessed: the folder of nnU-Net's preprocessed cases.
        manager: the data set's labels.
        spacing: of a voxel, mm, for each axis.
        anatomy: the data set's, if it has both zones, with sectors.

    Raises:
        DataError: the case text is not valid.
    """

    def __init__(
        self,
        settings: SupervisionSettings,
        channels: tuple[int, ...],
        dataset: str,
        preprocessed: str,
        manager: LabelManager,
        spacing: Sequence[float],
        anatomy: TrainingAnatomy | None,
    ) -> None:
        self.settings, self.channels, self.spacing = settings, channels, tuple(map(float, spacing))
        self.preprocessed, self.manager = Path(preprocessed), manager
        self.anatomy = anatomy if anatomy is not None and anatomy.sectors else None
        found = dataset_case_text(dataset)
        texts = {} if found is None else found[0]
        self.source = f"{dataset}, case_text.json" if found is None else str(found[1])
        self.targets = {case: text.target for case, text in texts.items() if text.target is not None}
        self.weight = 0.0
        self.cases = Cases()
        self.samples: dict[str, SampleReport] = {}
        self.places: dict[str, np.ndarray] = {}
        self.widened: list[str] = []
        self._kinds: dict[str, str] = {}

    def split(self, train: list[str], validation: list[str], everything: bool) -> tuple[list[str], list[str]]:
        """A fold's cases, once they are known to be such that can be learned from; finds out what each one teaches.

        Args:
            train: training cases.
            validation: validation cases.
            everything: of nnU-Net's fold "all", which validates its training cases: those that have an outline.

        Raises:
            TrainingError: a case has neither outline nor report, no case has an outline, or a validation case has none.
        """
        self._find_kinds({*train, *validation})
        unreported = sorted(case for case, kind in self._kinds.items() if kind == "none" and case not in self.targets)
        if unreported:
            raise TrainingError(
                f"{_names(unreported)}: all voxels are ignored, and no report counts the lesions.",
                where=self.source,
                remedy='Give the case {"target": {"lesions": 1}}, or how many there are (docs/reports.md), or leave it '
                "out of splits_final.json.",
            )
        outlined = [case for case in validation if self._kinds[case] != "none"]
        if len(outlined) < len(validation) and not everything:
            raise TrainingError(
                f"{_names(sorted({*validation} - {*outlined}))}: a case without an outline cannot be validated.",
                where="splits_final.json",
                remedy="Let the folds validate cases with outlines only.",
            )
        self.cases = Cases(
            [case for case in train if self._kinds[case] == "lesion"],
            [case for case in train if self._kinds[case] == "free"],
            {case: self.targets[case] for case in train if self._kinds[case] == "none"},
        )
        if not self.cases.lesion and not self.cases.free:
            raise TrainingError("No training case has an outline.", where="splits_final.json")
        return train, outlined

    def _find_kinds(self, cases: Iterable[str]) -> None:
        for case in cases:
            if case not in self._kinds:
                places = load_pickle(str(self.preprocessed / f"{case}.pkl"))["class_locations"]
                lesion = any(len(places.get(channel, ())) for channel in self.channels)
                self._kinds[case] = "lesion" if lesion else "free" if any(map(len, places.values())) else "none"

    def probabilities(self, cases: Sequence[str]) -> np.ndarray | None:
        """(N,) how often each of N cases is drawn; None: all alike, as there are none without an outline."""
        reported = np.array([case in self.cases.targets for case in cases])
        if not reported.any():
            return None
        share = self.settings.share
        return np.where(reported, share / reported.sum(), (1 - share) / (~reported).sum())

    def placed(self, dataset: Any) -> Any:
        """nnU-Net's data set of the training cases, whose reported ones are cropped around what the report names.

        Raises:
            TrainingError: a report names a place, and the case has no zones.
        """
        for case, target in self.cases.targets.items():
            if case not in self.places:
                self._read(case, target, dataset.load_case(case)[0].shape[1:])
        if not self.places:
            return dataset
        return PlacedCases(dataset, self.places, (-1, *self.manager.all_labels))

    def _read(self, case: str, target: ReportTarget, shape: Sequence[int]) -> None:
        extents, sectors = np.zeros(1 + len(SECTORS), dtype=int), None
        if self.anatomy is not None:
            sectors = read_map(self.preprocessed, self.anatomy.folder, case)
            extents = np.bincount(sectors.ravel(), minlength=len(extents))[: len(extents)]
        extents[0] = np.prod(shape)
        report = SampleReport.of(target, extents.tolist())
        places = {one.sector for one in report.lesions} or {Sector()}
        if self.anatomy is not None and any(map(any, places)) and not report.has_places:
            raise TrainingError(
                f"The report of case {case} names a place, and the case has no zones.",
                where=f"{self.source}; {self.anatomy.folder}",
                remedy="Add its zone mask (anatomyTr), or leave the place out of its target.",
            )
        if target.lesions:
            self.samples[case] = report
        wanted = set().union(*(values_within(place) for place in places))
        if report.has_places and not all(extents[values_within(place)].any() for place in places):
            self.widened.append(case)
            wanted = set(values_within(Sector()))
        self.places[case] = _draw_places(sectors if report.has_places else None, wanted, shape)

    def of(self, cases: Sequence[str]) -> BatchReports:
        """The reports of a batch's cases."""
        negative = tuple(case in self.cases.targets and not self.cases.targets[case].lesions for case in cases)
        samples = tuple(self.samples.get(case) for case in cases)
        ignored, sectors = int(self.manager.ignore_label), self.anatomy is not None
        return BatchReports(
            samples, negative, self.settings, self.weight, self.spacing, self.channels, ignored, sectors
        )

    def describe(self) -> str:
        """A line for the training log."""
        lesion, free, targets = len(self.cases.lesion), len(self.cases.free), self.cases.targets
        positive = self.cases.positive
        located = sum(any(one.located for one in target.findings) for target in positive.values())
        line = (
            f"Reports: {lesion + free} cases with an outline ({lesion} with a lesion, {free} without); {len(targets)} "
            f"with a report instead ({len(positive)} with lesions, {located} of them with a place; "
            f"{len(targets) - len(positive)} without), {self.settings.share if targets else 0:.0%} of patches."
        )
        if located and self.anatomy is None:
            line += " Places are not used: the data set has no zones."
        if self.widened:
            line += f" {_names(self.widened)}: the reported place holds nothing of the gland, and is taken as unknown."
        return line


def _draw_places(sectors: np.ndarray | None, values: Iterable[int], shape: Sequence[int]) -> np.ndarray:
    """(N, 1 + axes) random voxels of a place, the same ones each time; None: of the image."""
    generator = np.random.default_rng(0)
    if sectors is None:
        found = generator.integers(0, shape, (PLACES, len(shape)))
    else:
        found = np.argwhere(np.isin(sectors, list(values)))
        found = generator.permutation(found)[:PLACES]
    return np.column_stack([np.zeros(len(found), dtype=int), found])


def _names(cases: Sequence[str]) -> str:
    return ", ".join(cases[:5]) + (f" and {len(cases) - 5} more" if len(cases) > 5 else "")
