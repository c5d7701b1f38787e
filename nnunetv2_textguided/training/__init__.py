"""nnU-Net trainers."""

from nnunetv2_textguided.training.ablations import (
    nnUNetTrainerAlignRefine_1epoch,
    nnUNetTrainerAlignRefine_5epochs,
    nnUNetTrainerAlignRefine_10epochs,
    nnUNetTrainerAlignRefine_50epochs,
    nnUNetTrainerAlignRefine_100epochs,
    nnUNetTrainerAlignRefine_250epochs,
    nnUNetTrainerAlignRefine_LearnedText,
    nnUNetTrainerAlignRefine_NoAlignment,
    nnUNetTrainerAlignRefine_NoHeatmap,
    nnUNetTrainerAlignRefine_NoRefiner,
    nnUNetTrainerAlignRefine_NoText,
    nnUNetTrainerAlignRefine_NoText_250epochs,
    nnUNetTrainerAlignRefine_RandomText,
    nnUNetTrainerAlignRefine_ShuffledText,
    nnUNetTrainerAlignRefine_SingleEncoder,
    nnUNetTrainerAlignRefine_StockNetwork,
)
from nnunetv2_textguided.training.trainer import nnUNetTrainerAlignRefine

__all__ = [
    "nnUNetTrainerAlignRefine",
    "nnUNetTrainerAlignRefine_1epoch",
    "nnUNetTrainerAlignRefine_5epochs",
    "nnUNetTrainerAlignRefine_10epochs",
    "nnUNetTrainerAlignRefine_50epochs",
    "nnUNetTrainerAlignRefine_100epochs",
    "nnUNetTrainerAlignRefine_250epochs",
    "nnUNetTrainerAlignRefine_LearnedText",
    "nnUNetTrainerAlignRefine_NoAlignment",
    "nnUNetTrainerAlignRefine_NoHeatmap",
    "nnUNetTrainerAlignRefine_NoRefiner",
    "nnUNetTrainerAlignRefine_NoText",
    "nnUNetTrainerAlignRefine_NoText_250epochs",
    "nnUNetTrainerAlignRefine_RandomText",
    "nnUNetTrainerAlignRefine_ShuffledText",
    "nnUNetTrainerAlignRefine_SingleEncoder",
    "nnUNetTrainerAlignRefine_StockNetwork",
]
