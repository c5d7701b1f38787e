"""The `text_guidance` block, read from and written to nnU-Net's plans.

It lives in ``plans["configurations"][<configuration>]["text_guidance"]``.
How a user's partial block becomes a complete one is in presets.py.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import model_validator

from nnunetv2_textguided.settings.base import Frozen
from nnunetv2_textguided.settings.network import (
    AlignmentSettings,
    EncoderSettings,
    GroundingSettings,
    HeatmapSettings,
    RefinerSettings,
)
from nnunetv2_textguided.settings.text import TextSettings
from nnunetv2_textguided.settings.training import (
    OptimiserSettings,
    ScheduleSettings,
    SegmentationLossSettings,
    TrainingSettings,
)

BLOCK = "text_guidance"
DEFAULT_PRESET = "align_refine"

Component = Literal["alignment", "heatmap", "refiner"]


class Settings(Frozen):
    """Complete settings of a text-guided training."""

    version: Literal[1] = 1
    """Version of this format."""
    preset: str = DEFAULT_PRESET
    """The preset that the block's keys override."""
    components: tuple[Component, ...] = get_args(Component)
    """Parts of the method that are used. Empty: the multi-encoder network without text."""
    text: TextSettings = TextSettings()
    encoders: EncoderSettings = EncoderSettings()
    alignment: AlignmentSettings = AlignmentSettings()
    heatmap: HeatmapSettings = HeatmapSettings()
    grounding: GroundingSettings = GroundingSettings()
    refiner: RefinerSettings = RefinerSettings()
    segmentation_loss: SegmentationLossSettings = SegmentationLossSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    optimiser: OptimiserSettings = OptimiserSettings()
    training: TrainingSettings = TrainingSettings()

    @model_validator(mode="after")
    def _separable_channels(self) -> Settings:
        if self.training.channel_dropout and self.encoders.arrangement != "per_channel":
            raise ValueError(
                "training.channel_dropout needs encoders.arrangement 'per_channel': one encoder per channel"
            )
        return self

    @model_validator(mode="after")
    def _grounded(self) -> Settings:
        if not self.components and (self.grounding.enabled or self.text.case.clinical):
            raise ValueError("grounding and text.case need a network with text; components is empty")
        if self.text.case.sentences and not self.grounding.enabled:
            raise ValueError("text.case.sentences needs grounding.enabled: nothing would say where a sentence is")
        return self

    @property
    def uses_text(self) -> bool:
        """Whether the network has any text-guided part."""
        return bool(self.components)

    @property
    def fits_refiner(self) -> bool:
        """Whether the refiner is fitted, in a phase of its own, to a network that is finished by then."""
        return "refiner" in self.components and self.refiner.design == "surface"

    def block(self) -> dict[str, Any]:
        """The complete block as JSON values."""
        return self.model_dump(mode="json")
