"""Clinical facts of a patient: numbers with their units, and the range that patients have."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from nnunetv2_textguided.errors import DataError

# Key -> smallest and largest value that a patient can have, and the unit.
CLINICAL = {
    "psa_ng_per_ml": (0.0, 10_000.0, "ng/mL (the same as ug/L)"),
    "age_years": (18.0, 115.0, "years"),
    "prostate_volume_ml": (3.0, 600.0, "mL (the same as cm3; 1000 mm3 are 1 mL)"),
}


@dataclass(frozen=True)
class ClinicalFacts:
    """Numbers that are known of a patient; None: not known.

    Attributes:
        psa_ng_per_ml: prostate-specific antigen in serum, ng/mL.
        age_years: age at the examination, years.
        prostate_volume_ml: volume of the whole gland, mL.
    """

    psa_ng_per_ml: float | None = None
    age_years: float | None = None
    prostate_volume_ml: float | None = None

    @property
    def psa_density(self) -> float | None:
        """PSA over the gland's volume, ng/mL per mL; None where one of them is not known."""
        if self.psa_ng_per_ml is None or self.prostate_volume_ml is None:
            return None
        return self.psa_ng_per_ml / self.prostate_volume_ml

    def __bool__(self) -> bool:
        return any(getattr(self, f.name) is not None for f in fields(self))


def clinical_number(key: str, value: Any, where: str) -> float | None:
    """A value of CLINICAL; None where it is not known.

    Raises:
        DataError: no patient has it.
    """
    if value is None:
        return None
    low, high, unit = CLINICAL[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(
            f"{key} is {value!r}, not a number.", where=where, remedy=f"Give it in {unit}, or leave it out."
        )
    if not low < value <= high:
        raise DataError(
            f"{key} is {value:g}; patients have between {low:g} and {high:g}.",
            where=where,
            remedy=f"Give it in {unit}; leave it out where it is not known.",
        )
    return float(value)
