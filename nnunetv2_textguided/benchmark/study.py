"""What a benchmark compares: variants (trainer and plans) of one configuration, on the folds of one data set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nnunetv2_textguided.nnunet.variant import Variant


@dataclass(frozen=True, order=True)
class Cell:
    """One training: a variant on a fold."""

    variant: Variant
    fold: int

    def folder(self, results: Path, dataset: str) -> Path:
        """The fold's folder in nnUNet_results; nnU-Net puts checkpoints and `validation/` there."""
        return results / dataset / self.variant.name / f"fold_{self.fold}"


@dataclass(frozen=True)
class Study:
    """The complete table of trainings.

    Attributes:
        dataset: full name, DatasetXXX_Name.
        configuration: such as 3d_fullres.
        trainers: in the order in which they are reported.
        plans: plans names.
        folds: folds of the data set's splits.
    """

    dataset: str
    configuration: str
    trainers: tuple[str, ...]
    plans: tuple[str, ...] = ("nnUNetPlans",)
    folds: tuple[int, ...] = (0, 1, 2, 3, 4)

    @property
    def variants(self) -> tuple[Variant, ...]:
        """Every trainer under every plans name."""
        return tuple(Variant(trainer, plans, self.configuration) for plans in self.plans for trainer in self.trainers)

    def cells(self) -> Iterator[Cell]:
        """All trainings, fold by fold, so that an unfinished benchmark has complete folds to compare."""
        return (Cell(variant, fold) for fold in self.folds for variant in self.variants)
