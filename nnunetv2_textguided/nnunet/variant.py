"""One model of nnU-Net: trainer, plans and configuration."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Variant:
    """One of the models that are compared."""

    trainer: str
    plans: str
    configuration: str

    @property
    def name(self) -> str:
        """nnU-Net's name of the model folder (nnunetv2/utilities/file_path_utilities.py)."""
        return f"{self.trainer}__{self.plans}__{self.configuration}"
