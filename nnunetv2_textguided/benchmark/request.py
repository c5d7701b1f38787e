"""What is asked of `picai benchmark`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nnunetv2_textguided.benchmark.rows import CONFIGURATION, Row
from nnunetv2_textguided.benchmark.study import Cell, Study


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        images: the archive's folder of patient folders.
        labels: checkout of picai_labels.
        number: of the data set.
        plans: name of the method's plans.
        rows: of the table.
        folds: which are trained.
        repeats: how often each row is trained on each fold.
        processes: worker processes of preparation and preprocessing.
        encoder: a text encoder for embeddings of the data set's own; None: those in the package.
        training: options of `benchmark run`.
        options: step -> further options of its command.
    """

    images: Path
    labels: Path
    number: int
    plans: str
    rows: tuple[Row, ...]
    folds: tuple[int, ...]
    repeats: int
    processes: int
    encoder: str | None
    training: tuple[str, ...]
    options: Mapping[str, tuple[str, ...]]

    @property
    def trained(self) -> tuple[Row, ...]:
        """Rows with trainings of their own."""
        return tuple(row for row in self.rows if not row.networks)

    @property
    def derived(self) -> tuple[Row, ...]:
        """Rows with the networks of another."""
        return tuple(row for row in self.rows if row.networks)

    def names(self, rows: Sequence[Row]) -> list[str]:
        """TRAINER__PLANS of rows."""
        return [f"{model.trainer}__{model.plans}" for model in (row.model(self.plans) for row in rows)]

    def words(self, rows: Sequence[Row]) -> tuple[str, ...]:
        """Options of `benchmark run` and `benchmark report`: the data set, the rows' models, the folds."""
        what = ("-d", str(self.number), "-c", CONFIGURATION, "--models", *self.names(rows))
        return (*what, "--folds", *map(str, self.folds))

    def cells(self, dataset: str, rows: Sequence[Row]) -> list[Cell]:
        """The trainings of rows."""
        models = [row.model(self.plans) for row in rows]
        return list(replace(Study.of_models(dataset, models, self.folds), repeats=self.repeats).cells())
