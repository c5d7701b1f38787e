"""What all parts of the settings have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A frozen, validated part of the settings, whose keys are documented by the strings below them."""

    # allow_inf_nan: a NaN passes every range check, and then silently poisons the training.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)
