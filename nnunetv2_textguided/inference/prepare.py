"""Reading and preprocessing one case; runs in a background process."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.inference.cases import Case
from nnunetv2_textguided.inference.reading import check_grids, read_case
from nnunetv2_textguided.inference.training_range import Likeness, TrainingRange
from nnunetv2_textguided.nnunet.plans import ConfigurationManager, PlansManager


@dataclass(frozen=True)
class Notes:
    """What a reader of a case's results has to know.

    Attributes:
        remarks: what was found in its files.
        likeness: how it compares with the training data; None: not compared.
        missing: names of the channels that it lacks.
    """

    remarks: tuple[str, ...] = ()
    likeness: Likeness | None = None
    missing: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """JSON values."""
        known = {"remarks": list(self.remarks), "missing_channels": list(self.missing)}
        if self.likeness is None:
            return known
        return {
            **known,
            "training_distance": self.likeness.distance,
            "unlike_training": self.likeness.verdict,
        }


@dataclass(frozen=True)
class Prepared:
    """A preprocessed case: (channels, *grid) float32 data, nnU-Net's properties of it, seconds spent, notes."""

    data: np.ndarray
    properties: dict[str, Any]
    seconds: float
    notes: Notes = Notes()


def prepare_case(
    case: Case,
    plans: PlansManager,
    configuration: ConfigurationManager,
    dataset: dict[str, Any],
    channels: Sequence[str] = (),
    training: TrainingRange | None = None,
) -> Prepared:
    """Check, read and preprocess a case as nnU-Net does.

    Args:
        case: the case.
        plans: the model's plans.
        configuration: its configuration.
        dataset: its dataset.json.
        channels: names of its channels.
        training: what is known of the training data.

    Raises:
        DataError: a file is damaged, lies elsewhere than the first channel, or has values that are not finite.
    """
    start = time.perf_counter()
    names = [*channels, *(f"channel {number}" for number in range(len(channels), len(case.channels)))]
    remarks = check_grids(case, names)
    image, properties = read_case(case, plans, str(dataset["file_ending"]), names)
    data, _, properties = configuration.preprocessor_class(verbose=False).run_case_npy(
        image, None, properties, plans, configuration, dataset
    )
    data = np.ascontiguousarray(data, dtype=np.float32)
    if not np.isfinite(data).all():
        raise DataError("The preprocessed image has values that are not finite.", where=f"case {case.name}")
    likeness = None
    if training is not None:
        shape = properties["shape_after_cropping_and_before_resampling"]
        shape = [shape[axis] for axis in plans.transpose_backward]
        likeness = training.compare(data, properties["spacing"], shape, case.missing)
    missing = tuple(names[index] for index in case.missing)
    remarks += [f"{name} is missing: predicted without it" for name in missing]
    return Prepared(data, properties, time.perf_counter() - start, Notes(tuple(remarks), likeness, missing))
