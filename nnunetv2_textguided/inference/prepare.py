"""Reading and preprocessing one case; runs in a background process."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.inference.cases import Case, check_files
from nnunetv2_textguided.nnunet.plans import ConfigurationManager, PlansManager


@dataclass(frozen=True)
class Prepared:
    """A preprocessed case: (channels, *grid) float32 data, nnU-Net's properties of it, seconds spent."""

    data: np.ndarray
    properties: dict[str, Any]
    seconds: float


def prepare_case(
    case: Case, plans: PlansManager, configuration: ConfigurationManager, dataset: dict[str, Any]
) -> Prepared:
    """Read and preprocess a case as nnU-Net does.

    Raises:
        DataError: a file is damaged, or has values that are not finite.
    """
    start = time.perf_counter()
    check_files(case)
    try:
        data, _, properties = configuration.preprocessor_class(verbose=False).run_case(
            [str(file) for file in case.files], None, plans, configuration, dataset
        )
    except RuntimeError as error:  # what ITK and nnU-Net's readers raise
        reason = str(error).strip().splitlines()[-1:] or ["its channels differ in size or spacing"]
        raise DataError(f"The case cannot be read: {reason[0]}", where=", ".join(map(str, case.files))) from error
    data = np.ascontiguousarray(data, dtype=np.float32)
    if not np.isfinite(data).all():
        raise DataError("The preprocessed image has values that are not finite.", where=case.files[0])
    return Prepared(data, properties, time.perf_counter() - start)
