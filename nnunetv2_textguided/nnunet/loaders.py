"""What nnU-Net's trainer hands to its loaders: how often a case is drawn, and around which places it is cropped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from nnunetv2.training.nnUNetTrainer import nnUNetTrainer as trainer_module


@contextmanager
def drawn_with(probabilities: Callable[[Sequence[str]], np.ndarray | None]) -> Iterator[None]:
    """Loaders that nnU-Net's trainer makes in this context draw cases with given probabilities.

    nnUNetDataLoader has `sampling_probabilities`, for which nnUNetTrainer.get_dataloaders always passes None.

    Args:
        probabilities: of the cases (N,) of a loader, in their order, (N,) with the sum 1; None: all alike.
    """
    stock = trainer_module.nnUNetDataLoader

    def loader(data: Any, *args: Any, **options: Any) -> Any:
        return stock(data, *args, **{**options, "sampling_probabilities": probabilities(data.identifiers)})

    trainer_module.nnUNetDataLoader = loader
    try:
        yield
    finally:
        trainer_module.nnUNetDataLoader = stock


class PlacedCases:
    """A data set of nnU-Net's, some of whose cases are cropped around given places instead of annotated voxels.

    Args:
        dataset: nnU-Net's.
        places: case -> (N, 1 + axes) int, indices of voxels as in class_locations, the first one 0.
        key: under which nnU-Net's loader looks for annotated voxels: -1 and all labels.
    """

    def __init__(self, dataset: Any, places: Mapping[str, np.ndarray], key: tuple[int, ...]) -> None:
        self.dataset, self.places, self.key = dataset, places, key
        self.identifiers = dataset.identifiers

    def load_case(self, case: str) -> tuple[Any, Any, Any, dict[str, Any]]:
        """Images, labels, what is augmented with them, and properties, as nnU-Net's data sets return them."""
        data, labels, more, properties = self.dataset.load_case(case)
        if case in self.places:
            properties = {**properties, "class_locations": {self.key: self.places[case]}}
        return data, labels, more, properties
