"""Anatomy in training: read by nnU-Net's loader, augmented with the labels, and seen by the text losses alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from nnunetv2_textguided.anatomy.labels import RAW_FOLDER, anatomy_folder, anatomy_labels
from nnunetv2_textguided.anatomy.preprocessing import preprocess_anatomy
from nnunetv2_textguided.anatomy.sector_maps import anatomy_of_codes, preprocess_sectors, sector_folder
from nnunetv2_textguided.errors import TrainingError
from nnunetv2_textguided.nnunet.folders import RAW, nnunet_path
from nnunetv2_textguided.nnunet.plans import PlansManager
from nnunetv2_textguided.nnunet.preprocessed import loader_processes


@dataclass(frozen=True)
class TrainingAnatomy:
    """The anatomy of the data set that is trained on.

    Attributes:
        labels: the structures and their values in the anatomical label maps.
        preprocessed: the folder of nnU-Net's preprocessed cases.
        sectors: cut into sectors, from which phrases of places are learned.
        dataset: name of the data set.
        plans: name of the plans.
        configuration: name of the configuration.
    """

    labels: dict[str, int]
    preprocessed: Path
    sectors: bool
    dataset: str
    plans: PlansManager
    configuration: str

    @classmethod
    def of(
        cls,
        preprocessed: str,
        plans: PlansManager,
        configuration: str,
        dataset_json: dict[str, Any],
        sectors: bool = False,
    ) -> TrainingAnatomy:
        """The anatomy of the cases in the folder `preprocessed`.

        Raises:
            DataError: the description is not valid, or sectors are asked for where there are no zones.
        """
        labels = anatomy_labels(dataset_json)
        if sectors:
            anatomy_of_codes(labels)
        return cls(labels, Path(preprocessed), sectors, plans.dataset_name, plans, configuration)

    @property
    def values(self) -> tuple[int, ...]:
        """Values of the structures."""
        return tuple(self.labels.values())

    @property
    def codes(self) -> Tensor | None:
        """(256,) the structure's value for each value of the maps in `folder`; None: they are the same."""
        return torch.from_numpy(anatomy_of_codes(self.labels)) if self.sectors else None

    @property
    def folder(self) -> Path:
        """Where the preprocessed maps are that nnU-Net's loader reads."""
        return sector_folder(self.preprocessed) if self.sectors else anatomy_folder(self.preprocessed)

    def prepare(self, rank: int, distributed: bool, tell: Callable[[str], None]) -> None:
        """Have the first rank preprocess what is not up to date, and tell what was done; the others wait.

        Raises:
            DataError: a label map is missing or does not fit its case.
        """
        if rank == 0 and (message := self.preprocess()) is not None:
            tell(message)
        if rank == 0 and self.sectors:
            cases, done = preprocess_sectors(self.preprocessed, self.labels, self.plans, self.configuration)
            tell(f"Sectors of {cases} cases, {done} of them cut now -> {self.folder}")
        if distributed:
            dist.barrier()

    def preprocess(self) -> str | None:
        """Preprocess what is not up to date, and say what was done; None where there is no raw data.

        Raises:
            DataError: a label map is missing or does not fit its case.
        """
        raw_folder = nnunet_path(RAW)
        if raw_folder is None or not (raw := raw_folder / self.dataset / RAW_FOLDER).is_dir():
            return None  # A machine that only trains; what is there must do.
        cases, done, folder = preprocess_anatomy(
            raw.parent,
            self.preprocessed.parent,
            self.plans.plans_name,
            self.configuration,
            max(1, loader_processes()),
        )
        return f"Anatomy of {cases} cases, {done} of them preprocessed now -> {folder}"

    def check(self, cases: Iterable[str]) -> None:
        """Check that all cases of a fold have their preprocessed maps.

        Raises:
            TrainingError: some do not.
        """
        there = {path.stem for path in self.folder.glob("*") if not path.name.startswith(".")}
        missing = [case for case in cases if case not in there]
        if missing:
            raise TrainingError(
                f"{len(missing)} cases have no preprocessed anatomy, among them {', '.join(sorted(missing)[:5])}.",
                where=self.folder,
                remedy=f"Run `nnUNetv2_textguided anatomy -d {self.dataset} -c {self.configuration} "
                f"-p {self.plans.plans_name}`, or set alignment.anatomy to false.",
            )
