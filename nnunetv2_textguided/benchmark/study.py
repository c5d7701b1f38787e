"""What a benchmark compares: variants (trainer and plans) of one configuration, on the folds of one data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunetv2_textguided.nnunet.variant import Variant, split_repeat


def find_repeats(dataset_results: Path, variant: Variant) -> tuple[int, ...]:
    """The repeats of a variant that have folds.

    Args:
        dataset_results: the data set's folder in nnUNet_results.
        variant: under its own plans name.
    """
    pattern = f"{variant.trainer}__{variant.plans}*__{variant.configuration}"
    folders = [path for path in dataset_results.glob(pattern) if any(path.glob("fold_*"))]
    found = [split_repeat(path.name.split("__")[1]) for path in folders]
    return tuple(sorted(repeat for plans, repeat in found if plans == variant.plans))


@dataclass(frozen=True, order=True)
class Cell:
    """One training: a variant on a fold, in one of its repeats."""

    variant: Variant
    fold: int
    repeat: int = 1

    @property
    def model(self) -> Variant:
        """The variant under the repeat's plans name."""
        return self.variant.repeated(self.repeat)

    def folder(self, results: Path, dataset: str) -> Path:
        """The fold's folder in nnUNet_results; nnU-Net puts checkpoints and `validation/` there."""
        return results / dataset / self.model.name / f"fold_{self.fold}"


@dataclass(frozen=True)
class Study:
    """The complete table of trainings.

    Attributes:
        dataset: full name, DatasetXXX_Name.
        configuration: such as 3d_fullres.
        trainers: in the order in which they are reported.
        plans: plans names.
        folds: folds of the data set's splits.
        repeats: how often every variant is trained on every fold.
        chosen: the variants, where they are not every trainer under every plans name.
    """

    dataset: str
    configuration: str
    trainers: tuple[str, ...]
    plans: tuple[str, ...] = ("nnUNetPlans",)
    folds: tuple[int, ...] = (0, 1, 2, 3, 4)
    repeats: int = 1
    chosen: tuple[Variant, ...] = ()

    @property
    def variants(self) -> tuple[Variant, ...]:
        """Every trainer under every plans name, or those that were chosen."""
        every = (Variant(trainer, plans, self.configuration) for plans in self.plans for trainer in self.trainers)
        return self.chosen or tuple(every)

    @classmethod
    def of_models(cls, dataset: str, models: Sequence[Variant], folds: tuple[int, ...]) -> Study:
        """The study of some models of one configuration."""
        trainers, plans = (dict.fromkeys(names) for names in ([m.trainer for m in models], [m.plans for m in models]))
        chosen = tuple(dict.fromkeys(models))
        return cls(dataset, models[0].configuration, tuple(trainers), tuple(plans), folds, chosen=chosen)

    def cells(self) -> Iterator[Cell]:
        """All trainings, fold by fold, so that an unfinished benchmark has complete folds to compare."""
        for repeat in range(1, self.repeats + 1):
            yield from (Cell(variant, fold, repeat) for fold in self.folds for variant in self.variants)
