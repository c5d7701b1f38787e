"""Every hyper-parameter of the method: one frozen, validated model, a block of nnU-Net's plans."""

from nnunetv2_textguided.settings.block import BLOCK, DEFAULT_PRESET, Settings
from nnunetv2_textguided.settings.network import AlignmentSettings, GroundingSettings, HeatmapSettings, RefinerSettings
from nnunetv2_textguided.settings.text import ResolvedText, SupervisionSettings, TextSettings
from nnunetv2_textguided.settings.training import ScheduleSettings, SegmentationLossSettings

__all__ = [
    "BLOCK",
    "DEFAULT_PRESET",
    "AlignmentSettings",
    "GroundingSettings",
    "HeatmapSettings",
    "RefinerSettings",
    "ResolvedText",
    "ScheduleSettings",
    "SegmentationLossSettings",
    "Settings",
    "SupervisionSettings",
    "TextSettings",
]
